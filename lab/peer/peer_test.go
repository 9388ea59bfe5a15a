package peer_test

import (
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/jumpget/jumpget/lab/peer"
)

func TestTable(t *testing.T) {
	vars := peer.Vars{}
	for _, name := range []string{"origin", "relay", "relaydir", "name", "fresh", "ssh", "sshw", "dest", "path", "jumpget", "many", "origindir", "run", "tiny", "learn"} {
		vars[name] = "VALUE"
	}
	for name := range peer.Lists {
		vars[name] = "VALUE"
	}
	open := regexp.MustCompile(`\{[a-z]+\}`)
	seen := map[string]bool{}
	for _, p := range peer.All() {
		if p.Name == "" || p.About == "" || len(p.Needs) == 0 || p.Command == "" || seen[p.Name] {
			t.Errorf("an entry says too little or stands twice: %+v", p)
		}
		seen[p.Name] = true
		for _, line := range []string{p.Before, p.Command, p.Many, p.After} {
			if left := open.FindString(vars.Expand(line)); left != "" {
				t.Errorf("%s: nobody fills in %s", p.Name, left)
			}
		}
		if !p.NoFile && !strings.Contains(p.Command, "out") || p.Many != "" && !strings.Contains(p.Many, "out") {
			t.Errorf("%s leaves no file", p.Name)
		}
		if slices.Contains(p.Servers, peer.JumpGet) && p.After == "" {
			t.Errorf("%s leaves its files on the relay", p.Name)
		}
	}
}

func TestLists(t *testing.T) {
	vars := peer.Vars{"origindir": "VALUE", "relaydir": "VALUE", "run": "VALUE"}
	for name, l := range peer.Lists {
		if text := vars.Expand(l.Before + l.After); strings.Contains(text, "{") || l.Before == "" {
			t.Errorf("%s: nobody fills in %s", name, text)
		}
	}
}

func TestFind(t *testing.T) {
	found, err := peer.Find("curl", "wget")
	if err != nil || len(found) != 2 || found[0].Name != "curl" {
		t.Errorf("%v, %v", found, err)
	}
	if all, err := peer.Find("all"); err != nil || len(all) != len(peer.All()) {
		t.Errorf("all: %d, %v", len(all), err)
	}
	if _, err := peer.Find("wgett"); err == nil || !strings.Contains(err.Error(), "wgett") || !strings.Contains(err.Error(), "aria2") {
		t.Errorf("%v", err)
	}
}

func TestMissing(t *testing.T) {
	p := peer.Peer{Needs: []string{"sh", "no-such-program"}}
	if got := p.Missing(); !slices.Equal(got, []string{"no-such-program"}) {
		t.Errorf("%q", got)
	}
}
