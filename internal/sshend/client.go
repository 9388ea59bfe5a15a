package sshend

import (
	"fmt"
	"net/netip"
	"sync"
	"time"

	"golang.org/x/crypto/ssh"
)

// bridgeCommand is the only command there is.
const bridgeCommand = "jumpget bridge"

// maxChannels is how many channels one connection may have open: each run of the
// client takes one.
const maxChannels = 64

// noShell is said to whoever asks for a shell or another command; a terminal may
// be in raw mode, so it ends in both characters.
const noShell = "this is a JumpGet relay: no shell here, and no command but \"" + bridgeCommand + "\"\r\n"

// client is one authenticated connection.
type client struct {
	srv  *Server
	conn *ssh.ServerConn
	user string
	from netip.Addr

	mu       sync.Mutex
	open     int
	draining bool
	running  sync.WaitGroup // of channels
}

// serve handles a connection until it is closed and its channels are served.
func (c *client) serve(channels <-chan ssh.NewChannel, requests <-chan *ssh.Request) {
	c.running.Go(func() { answerGlobal(requests) })
	gone := make(chan struct{})
	c.running.Go(func() { c.watch(gone) })
	for ch := range channels {
		c.openChannel(ch)
	}
	close(gone)
	c.running.Wait()
}

// watch closes a connection whose client no longer answers: a laptop that was
// carried away says no goodbye. Bytes on their way to a slow client come before
// the question, so the limit is long.
func (c *client) watch(gone <-chan struct{}) {
	tick := time.NewTicker(c.srv.askEvery)
	defer tick.Stop()
	for {
		select {
		case <-gone:
			return
		case <-tick.C:
		}
		limit := time.AfterFunc(c.srv.answerWithin, func() { _ = c.conn.Close() })
		_, _, err := c.conn.SendRequest("keepalive@openssh.com", true, nil)
		limit.Stop()
		if err != nil {
			return
		}
	}
}

// answerGlobal answers keepalives and refuses all else, listeners above all.
func answerGlobal(requests <-chan *ssh.Request) {
	for r := range requests {
		if r.WantReply {
			_ = r.Reply(r.Type == "keepalive@openssh.com", nil)
		}
	}
}

// openChannel accepts a channel that leads to the API, or rejects it.
func (c *client) openChannel(ch ssh.NewChannel) {
	handle, reason, why := c.route(ch)
	if handle != nil && !c.enter() {
		handle, reason, why = nil, ssh.ResourceShortage, "too many channels, or shutting down"
	}
	if handle == nil {
		c.srv.log.Debug("an ssh channel was refused", "user", c.user, "type", clip(ch.ChannelType()), "reason", why)
		_ = ch.Reject(reason, why)
		return
	}
	channel, requests, err := ch.Accept()
	if err != nil {
		c.leave()
		return
	}
	c.running.Go(func() {
		defer c.leave()
		handle(channel, requests)
	})
}

// clip shortens what a client sent for the log.
func clip(s string) string { return s[:min(len(s), 64)] }

// handler serves an accepted channel until its end.
type handler func(ssh.Channel, <-chan *ssh.Request)

// route finds the handler for a kind of channel, or why there is none.
func (c *client) route(ch ssh.NewChannel) (handler, ssh.RejectionReason, string) {
	const elsewhere = "only the relay's own API can be reached here"
	switch ch.ChannelType() {
	case "session":
		return c.session, 0, ""
	case "direct-tcpip":
		if c.srv.isLocalAPI(ch.ExtraData()) {
			return c.forward, 0, ""
		}
		return nil, ssh.Prohibited, elsewhere
	case "direct-streamlocal@openssh.com":
		if c.srv.isLocalSocket(ch.ExtraData()) {
			return c.forward, 0, ""
		}
		return nil, ssh.Prohibited, elsewhere
	}
	return nil, ssh.UnknownChannelType, "no such channels here"
}

// isLocalAPI reads the request of RFC 4254, 7.2.
func (s *Server) isLocalAPI(extra []byte) bool {
	var to struct {
		Host       string
		Port       uint32
		OriginHost string
		OriginPort uint32
	}
	if ssh.Unmarshal(extra, &to) != nil || to.Port != uint32(s.cfg.LocalPort) {
		return false
	}
	return to.Host == "127.0.0.1" || to.Host == "localhost" || to.Host == "::1"
}

// isLocalSocket reads the request of OpenSSH's PROTOCOL, 2.4.
func (s *Server) isLocalSocket(extra []byte) bool {
	var to struct {
		Path      string
		Reserved  string
		Reserved2 uint32
	}
	return ssh.Unmarshal(extra, &to) == nil && to.Path == s.cfg.LocalSocket && to.Path != ""
}

func (c *client) enter() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.draining || c.open >= maxChannels {
		return false
	}
	c.open++
	return true
}

// leave ends a channel; the last one of a draining connection ends that.
func (c *client) leave() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.open--
	if c.draining && c.open == 0 {
		_ = c.conn.Close()
	}
}

// drain lets the open channels finish and then closes the connection.
func (c *client) drain() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.draining = true
	if c.open == 0 {
		_ = c.conn.Close()
	}
}

// forward gives a channel to the API.
func (c *client) forward(ch ssh.Channel, requests <-chan *ssh.Request) {
	c.running.Go(func() { ssh.DiscardRequests(requests) })
	c.serveAPI(ch, func() { _ = ch.Close() })
}

func (c *client) serveAPI(ch ssh.Channel, finish func()) {
	conn := newChannelConn(ch, c.conn, finish)
	defer func() { _ = conn.Close() }()
	c.srv.cfg.Serve(conn, c.user, c.from)
}

// session waits for the one command. A terminal is granted, so that whoever asks
// for a shell reads our words and no complaint about a terminal.
func (c *client) session(ch ssh.Channel, requests <-chan *ssh.Request) {
	defer func() { _ = ch.Close() }()
	for r := range requests {
		switch r.Type {
		case "pty-req":
			_ = r.Reply(true, nil)
		case "exec", "shell":
			_ = r.Reply(true, nil)
			c.running.Go(func() { ssh.DiscardRequests(requests) })
			c.run(ch, r)
			return
		default:
			_ = r.Reply(false, nil)
		}
	}
}

// run serves a session's program.
func (c *client) run(ch ssh.Channel, r *ssh.Request) {
	var exec struct{ Command string }
	if r.Type == "exec" && ssh.Unmarshal(r.Payload, &exec) == nil && exec.Command == bridgeCommand {
		c.serveAPI(ch, func() { exit(ch, 0) })
		return
	}
	_, _ = fmt.Fprint(ch.Stderr(), noShell)
	exit(ch, 1)
}

// exit ends a session with a code.
func exit(ch ssh.Channel, code uint32) {
	_ = ch.CloseWrite()
	_, _ = ch.SendRequest("exit-status", false, ssh.Marshal(struct{ Status uint32 }{code}))
	_ = ch.Close()
}
