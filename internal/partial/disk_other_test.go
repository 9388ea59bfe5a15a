//go:build !linux

package partial

import "testing"

func smallDisk(t *testing.T) string {
	t.Helper()
	t.Skip("no small disk here")
	return ""
}

func readOnlyDir(*testing.T) string { return "" }
