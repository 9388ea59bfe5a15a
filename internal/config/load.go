package config

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/knadh/koanf/providers/confmap"
	"github.com/knadh/koanf/providers/env/v2"
	"github.com/knadh/koanf/providers/posflag"
	"github.com/knadh/koanf/v2"
	"github.com/spf13/pflag"
)

const (
	envPrefix  = "JUMPGET_"
	configVar  = "JUMPGET_CONFIG"
	configFlag = "config"
	// delim never stands in a key, so koanf takes no key apart.
	delim = "\x00"
)

// Error is everything that is wrong with the settings, one problem each.
type Error struct{ Problems []string }

func (e *Error) Error() string { return strings.Join(e.Problems, "; ") }

// layer is one source of settings, its keys normalised.
type layer struct {
	ko    *koanf.Koanf
	where func(key string) string
}

// loader is one call of Load.
type loader struct {
	o        Options
	env      environment
	all      []setting
	names    map[string]string // every name to its key
	layers   []layer           // the weakest first
	problems []string
	warnings []string
}

// Load reads and checks every layer. The error is an *Error.
func Load(o Options) (*Config, error) {
	l := &loader{o: o, env: newEnvironment(o.goos, o.Environ), all: settings()}
	l.names = names(l.all)
	l.defaults()
	l.files()
	l.environ()
	l.flags()
	c := l.build()
	if len(l.problems) > 0 {
		return nil, &Error{l.problems}
	}
	return c, nil
}

func (l *loader) problem(format string, args ...any) {
	l.problems = append(l.problems, fmt.Sprintf(format, args...))
}

// add loads a layer; what koanf reports can only come from the provider.
func (l *loader) add(p koanf.Provider, parser koanf.Parser, where func(key string) string) error {
	ko := koanf.New(delim)
	if err := ko.Load(p, parser); err != nil {
		return err
	}
	l.layers = append(l.layers, layer{ko, where})
	return nil
}

func (l *loader) addMap(m map[string]any, where func(key string) string) {
	if err := l.add(confmap.Provider(m, delim), nil, where); err != nil {
		l.problem("%v", err)
	}
}

func (l *loader) defaults() {
	m := map[string]any{}
	for _, s := range l.all {
		if s.def != "" {
			m[s.key] = s.def
		}
	}
	l.addMap(m, func(string) string { return "default" })
}

// files reads the file that is named, which then has to be there, or else
// those of the usual places that are.
func (l *loader) files() {
	name := l.env.get(configVar)
	if l.o.Flags != nil {
		if f := l.o.Flags.Lookup(configFlag); f != nil && f.Changed {
			name = f.Value.String()
		}
	}
	if name != "" {
		l.file(l.env.expand(name), true)
		return
	}
	for _, path := range l.env.files() {
		l.file(path, false)
	}
}

func (l *loader) file(path string, required bool) {
	b, err := os.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) && !required {
		return
	}
	if err != nil {
		l.problem("reading the config file: %v", err)
		return
	}
	parser := &yamlParser{lines: map[string]int{}}
	raw := koanf.New(delim)
	if err := raw.Load(rawBytes(b), parser); err != nil {
		l.problem("%s: %v", path, err)
		return
	}
	m, lines := map[string]any{}, map[string]int{}
	for _, written := range sortedKeys(raw.Raw()) {
		key, ok := l.names[normal(written)]
		switch {
		case !ok:
			l.problem("%s, line %d: unknown key %q; the nearest known one is %q", path, parser.lines[written], written, nearest(normal(written), l.known()))
			continue
		case lines[key] != 0:
			l.problem("%s, line %d: %q means the same as line %d", path, parser.lines[written], written, lines[key])
			continue
		}
		m[key], lines[key] = raw.Get(written), parser.lines[written]
	}
	l.addMap(m, func(key string) string { return fmt.Sprintf("%s, line %d", path, lines[key]) })
}

func (l *loader) known() []string {
	var all []string
	for _, s := range l.all {
		all = append(all, s.key)
	}
	return all
}

// environ reads the JUMPGET_* variables. An unknown one may belong to a wrapper
// script, so it is a warning and no more.
func (l *loader) environ() {
	from := map[string]string{}
	transform := func(name, value string) (string, any) {
		key, ok := l.names[normal(name)]
		switch {
		case name == configVar:
			return "", nil
		case !ok:
			guess := nearest(normal(name), l.known())
			l.warnings = append(l.warnings, fmt.Sprintf("the variable %s is not known; the nearest is %s", name, l.setting(guess).envName()))
			return "", nil
		case value == "":
			return "", nil
		case from[key] != "":
			l.problem("the variables %s and %s mean the same; set one", from[key], name)
			return "", nil
		}
		from[key] = name
		return key, value
	}
	provider := env.Provider(delim, env.Opt{
		Prefix:        envPrefix,
		TransformFunc: transform,
		EnvironFunc:   func() []string { return slices.Sorted(slices.Values(l.o.Environ)) },
	})
	if l.env.get("NO_COLOR") != "" {
		l.addMap(map[string]any{"no-color": "true"}, func(string) string { return "NO_COLOR" })
	}
	if err := l.add(provider, nil, func(key string) string { return from[key] }); err != nil {
		l.problem("%v", err)
	}
}

// flags reads the flags that were given.
func (l *loader) flags() {
	if l.o.Flags == nil {
		return
	}
	provider := posflag.ProviderWithFlag(l.o.Flags, delim, nil, func(f *pflag.Flag) (string, any) {
		if l.setting(f.Name).key == "" {
			return "", nil // a flag that is no setting
		}
		if s, ok := f.Value.(pflag.SliceValue); ok {
			var all []any
			for _, v := range s.GetSlice() {
				all = append(all, v)
			}
			return f.Name, all
		}
		return f.Name, f.Value.String()
	})
	if err := l.add(provider, nil, func(key string) string { return "--" + key }); err != nil {
		l.problem("%v", err)
	}
}

// setting returns a setting by its key; its key is "" if there is none.
func (l *loader) setting(key string) setting {
	for _, s := range l.all {
		if s.key == key {
			return s
		}
	}
	return setting{}
}

// find returns the strongest layer's text for a setting and where it stands;
// nil if no layer has one.
func (l *loader) find(s setting) (text []string, where string) {
	for _, layer := range slices.Backward(l.layers) {
		if !layer.ko.Exists(s.key) {
			continue
		}
		where = layer.where(s.key)
		text, err := s.text(layer.ko.Get(s.key))
		if err != nil {
			l.problem("%s %v (%s)", s.key, err, where)
			return nil, where
		}
		return text, where
	}
	return nil, ""
}

// text returns what a layer has for the setting as text; an empty word is nothing.
func (s setting) text(v any) ([]string, error) {
	var all []string
	switch v := v.(type) {
	case string:
		all = []string{v}
		if s.kind == list {
			all = strings.FieldsFunc(v, func(r rune) bool { return r == ',' || r == ' ' || r == '\t' || r == '\n' })
		}
	case []any:
		if s.kind != list {
			return nil, errors.New("takes one value, not a list")
		}
		for _, item := range v {
			all = append(all, fmt.Sprint(item))
		}
	default:
		return nil, fmt.Errorf("can't be a %T", v)
	}
	if len(all) == 1 && all[0] == "" {
		return nil, nil
	}
	return all, nil
}

// build makes the typed settings out of the layers.
func (l *loader) build() *Config {
	c := &Config{Warnings: l.warnings}
	dest := l.destination()
	c.Client.Dest = dest.Destination
	for _, s := range l.all {
		text, where := l.find(s)
		if s.isPath() && len(text) == 1 {
			text[0] = l.env.expand(text[0])
		}
		if len(text) > 0 && s.set != nil {
			if err := s.set(c, text); err != nil {
				l.problem("%s: %s %v (%s)", s.key, s.show(text), err, where)
			}
		}
		c.rows = append(c.rows, Row{Key: s.key, Value: s.mask(text), From: where, Doc: strings.ReplaceAll(s.usage, "`", ""), Sides: s.sides})
	}
	l.place(c)
	dest.explain(c)
	return c
}

// place fills in the relay's directories, which depend on who runs it.
func (l *loader) place(c *Config) {
	r := &c.Relay
	if r.DataDir == "" {
		r.DataDir = l.env.dataDir(l.o.Root)
		c.fill("data-dir", r.DataDir)
	} else if abs, err := filepath.Abs(r.DataDir); err == nil {
		r.DataDir = abs
	} else {
		l.problem("data-dir: %v", err)
	}
	if r.LocalSocket == "" {
		r.LocalSocket = l.env.socket(l.o.Root, r.DataDir)
		r.defaultSocket = true
		c.fill("local-socket", r.LocalSocket)
	}
}

// fill shows a default that had to be found out.
func (c *Config) fill(key, value string) {
	for i := range c.rows {
		if c.rows[i].Key == key {
			c.rows[i].Value, c.rows[i].From = value, "default"
		}
	}
}

func (s setting) isPath() bool {
	return slices.Contains([]string{"identity", "dir", "local-socket", "data-dir", "authorized-keys"}, s.key)
}

// show quotes a value for an error message, which may be copied anywhere.
func (s setting) show(text []string) string {
	if s.kind == secret {
		return "its value"
	}
	return fmt.Sprintf("%q", strings.Join(text, ","))
}

// mask returns a value for a person who may be looked over the shoulder.
func (s setting) mask(text []string) string {
	if s.kind == secret && len(text) > 0 {
		return "(hidden)"
	}
	return strings.Join(text, ",")
}

// rawBytes gives koanf a file's contents.
type rawBytes []byte

func (b rawBytes) ReadBytes() ([]byte, error) { return b, nil }

func (b rawBytes) Read() (map[string]any, error) {
	return nil, errors.New("config: a file needs a parser")
}

func sortedKeys(m map[string]any) []string {
	var keys []string
	for k := range m {
		keys = append(keys, k)
	}
	slices.Sort(keys)
	return keys
}
