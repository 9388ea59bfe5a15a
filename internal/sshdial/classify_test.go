package sshdial

import (
	"strings"
	"testing"
)

// What several releases of OpenSSH say, and on several systems.
func TestClassify(t *testing.T) {
	for _, c := range []struct {
		stderr string
		kind   Kind
	}{
		{"@@@@\r\n@ WARNING: REMOTE HOST IDENTIFICATION HAS CHANGED! @\r\nHost key verification failed.\r\n", HostKeyChanged},
		{"No ED25519 host key is known for [vps]:22 and you have requested strict checking.\nHost key verification failed.", HostKeyUnknown},
		{"ann@vps: Permission denied (publickey).", AuthRefused},
		{"Received disconnect from 192.0.2.1 port 22:2: Too many authentication failures", AuthRefused},
		{"command-line: line 0: Bad configuration option: nope", BadCommand},
		{"ssh: illegal option -- Z\nusage: ssh [-46AaCf]", BadCommand},
		{"unknown option -- Z\r\nusage: ssh [-46AaCf]", BadCommand},
		{"Bad owner or permissions on /home/ann/.ssh/config", BadCommand},
		{"ssh: Could not resolve hostname nope: Name or service not known", Unreachable},
		{"ssh: Could not resolve hostname nope: nodename nor servname provided, or not known", Unreachable},
		{"ssh: connect to host vps port 22: Connection refused", Unreachable},
		{"ssh: connect to host vps port 22: Connection timed out", Unreachable},
		{"ssh: connect to host vps port 22: Operation timed out", Unreachable},
		{"ssh: connect to host vps port 22: No route to host", Unreachable},
		{"ssh: connect to host vps port 22: Network is unreachable", Unreachable},
		{"Connection timed out during banner exchange\nConnection to 192.0.2.1 port 22 timed out", Unreachable},
		{"kex_exchange_identification: Connection closed by remote host", Cut},
		{"ssh_exchange_identification: read: Connection reset by peer", Cut},
		{"Unable to negotiate with 192.0.2.1 port 22: no matching host key type found. Their offer: ssh-rsa", Unreachable},
		{"", Died},
		{"something new", Died},
	} {
		e := classify(Host{Alias: "vps"}, c.stderr, 255)
		if e.Kind != c.kind || e.Message == "" || e.Hint == "" || strings.Contains(e.Message, "%") {
			t.Errorf("%q: %+v", c.stderr, e)
		}
	}
}

func TestForwardCause(t *testing.T) {
	for _, c := range []struct {
		stderr string
		want   cause
	}{
		{"channel 0: open failed: administratively prohibited: open failed\r\nstdio forwarding failed\r\n", causeProhibited},
		{"channel 0: open failed: unknown channel type: \nstdio forwarding failed", causeProhibited},
		{"channel 0: open failed: connect failed: Connection refused\r\nstdio forwarding failed", causeRefused},
		{"channel 0: open failed: connect failed: open failed\r\nstdio forwarding failed", causeRefused},
		{"Stdio forwarding request failed: Session open refused by peer", causeUnknown},
		{"mux_client_request_stdio_fwd: session request failed: Session open refused by peer\nstdio forwarding failed", causeUnknown},
		{"channel 0: open failed: connect failed: Connection refused\nstdio forwarding failed\nkex_exchange_identification: Connection closed by remote host\nConnection closed by UNKNOWN port 65535", causeNone},
		{"ann@vps: Permission denied (publickey).", causeNone},
	} {
		if got := forwardCause(c.stderr); got != c.want {
			t.Errorf("%q: %d, want %d", c.stderr, got, c.want)
		}
	}
}

func TestNoBridge(t *testing.T) {
	for _, c := range []struct {
		stderr string
		exit   int
		want   bool
	}{
		{"bash: line 1: jumpget: command not found", 127, true},
		{"jumpget: Command not found.", 1, true},
		{"'jumpget' is not recognized as an internal or external command,", 1, true},
		{"exec request failed on channel 0", 255, true},
		{"jumpget: dial unix /run/jumpget/api.sock: connect: no such file or directory", 10, false},
		{"", 1, false},
	} {
		if got := noBridge(c.stderr, c.exit); got != c.want {
			t.Errorf("%q: %v", c.stderr, got)
		}
	}
}

// What a server says reaches a terminal only without escapes, and not too long.
func TestDetail(t *testing.T) {
	got := detail("debug1: noise\r\n@@@@@@\n\x1b[31mred\x1b]0;title\x07\u202eevil\r\n\n" + strings.Repeat("x", 1000) + "\n")
	want := "[31mred]0;titleevil\n" + strings.Repeat("x", 300) + "…"
	if got != want {
		t.Errorf("got %q", got)
	}
	if got := detail(strings.Repeat("line\n", 100)); strings.Count(got, "\n") != 7 {
		t.Errorf("got %q", got)
	}
}

func TestGreetingHTTP2(t *testing.T) {
	for said, ok := range map[string]bool{
		"\x00\x00\x1e\x04\x00\x00\x00\x00\x00": true,
		"\x00\x00\x00\x04\x00\x00\x00\x00\x00": true,
		"\x00\x00\x00\x04":                     false,
		"HTTP/1.1 400 Bad Request":             false,
		"SSH-2.0-OpenSSH":                      false,
		"\x00\x00\x00\x00\x00\x00\x00\x00\x01": false,
		"Welcome to \x1b[31mmy machine":        false,
	} {
		if err := GreetingHTTP2([]byte(said)); (err == nil) != ok {
			t.Errorf("%q: %v", said, err)
		}
	}
}
