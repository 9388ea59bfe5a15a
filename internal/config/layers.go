package config

// resolved is where the relay stands, and which layer said so.
type resolved struct {
	Destination
	from map[string]string // by key: relay, host, user, ssh-port
}

// destination goes through the layers from the weakest. A `relay` says all
// about the relay, so it makes everything said in weaker layers forgotten;
// `host`, `user` and `ssh-port` each change their own part. Within one layer
// `relay` counts more, and the others fill in what it leaves open.
func (l *loader) destination() resolved {
	r := resolved{from: map[string]string{}}
	for _, layer := range l.layers {
		d, given := l.parts(layer)
		if given["relay"] {
			r.Destination, r.from = Destination{}, map[string]string{}
		}
		for _, key := range []string{"relay", "host", "user", "ssh-port"} {
			if given[key] {
				r.from[key] = layer.where(key)
			}
		}
		if d.Host != "" {
			r.Host = d.Host
		}
		if d.User != "" {
			r.User = d.User
		}
		if d.Port != 0 {
			r.Port = d.Port
		}
	}
	return r
}

// parts returns what one layer says of the relay, and by which keys.
func (l *loader) parts(in layer) (Destination, map[string]bool) {
	given := map[string]bool{}
	get := func(key string) string {
		text, err := setting{}.text(in.ko.Get(key))
		if !in.ko.Exists(key) || err != nil || text == nil {
			return "" // find reports the error
		}
		given[key] = true
		return text[0]
	}
	check := func(key, value string, err error) {
		if err != nil {
			l.problem("%s: %q %v (%s)", key, value, err, in.where(key))
		}
	}
	var d Destination
	var err error
	if s := get("relay"); s != "" {
		d, err = ParseDestination(s)
		check("relay", s, err)
	}
	if s := get("host"); s != "" {
		check("host", s, checkHost(s))
		if d.Host == "" {
			d.Host = s
		}
	}
	if s := get("user"); s != "" {
		check("user", s, checkUser(s))
		if d.User == "" {
			d.User = s
		}
	}
	if s := get("ssh-port"); s != "" {
		p, err := sshPort(s)
		check("ssh-port", s, err)
		if d.Port == 0 {
			d.Port = p
		}
	}
	return d, given
}

// explain makes the rows tell what came of the four keys together.
func (r resolved) explain(c *Config) {
	for i := range c.rows {
		row := &c.rows[i]
		switch row.Key {
		case "relay", "host", "user", "ssh-port":
			if row.From != "" && r.from[row.Key] != row.From {
				row.From += ", but a stronger relay was given"
			}
		}
	}
}
