package topo

import (
	"strings"
	"testing"
)

func TestOldKernelsAreRefused(t *testing.T) {
	for release, ok := range map[string]bool{
		"6.1.0-13-amd64": true, "4.13.0": true, "10.0": true, "unknown": true,
		"4.9.0": false, "3.10.0-1160.el7": false,
	} {
		err := checkKernel(release)
		if (err == nil) != ok {
			t.Errorf("%s: %v", release, err)
		}
		if err != nil && (!strings.Contains(err.Error(), release) || strings.Contains(err.Error(), "\n")) {
			t.Errorf("%s: %v", release, err)
		}
	}
}

func TestStatusField(t *testing.T) {
	status := []byte("Name:\tlab\nPPid:\t12\nNSpid:\t34\t1\n")
	if got := statusField(status, "NSpid"); len(got) != 2 || got[1] != "1" {
		t.Errorf("%q", got)
	}
	if got := statusField(status, "Pid"); got != nil {
		t.Errorf("a field that is not there: %q", got)
	}
}
