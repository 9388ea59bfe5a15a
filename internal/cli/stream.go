package cli

import (
	"context"
	"io"
	"os"
	"path/filepath"
	"slices"

	"github.com/jumpget/jumpget/internal/client"
)

// toStdout reports whether any order's bytes go to standard output. Nothing
// else may then, and one file has to come after the other.
func toStdout(orders []order) bool {
	return slices.ContainsFunc(orders, func(o order) bool { return o.output == "-" })
}

// outputName makes the system's names for standard output ours: what they lead
// to may be a file, and that is not to be replaced.
func outputName(name string) string {
	if name == "/dev/stdout" || name == "/dev/fd/1" || name == "/proc/self/fd/1" {
		return "-"
	}
	return name
}

// isStream reports whether path is a device or a pipe, such as /dev/null: there
// is nothing to keep or to rename, so bytes go there as to standard output.
func isStream(path string) bool {
	info, err := os.Stat(path)
	return err == nil && info.Mode()&(os.ModeDevice|os.ModeNamedPipe) != 0
}

// bring brings one order's file to where it goes.
func (d *downloads) bring(ctx context.Context, n int, o order) (res *client.Result, err error) {
	req := d.request(n, o)
	switch {
	case o.output == "-":
		req.Stdout = d.app.proc.Out
	case o.output != "" && isStream(o.target()):
		var out io.WriteCloser
		if out, err = os.OpenFile(filepath.Clean(o.target()), os.O_WRONLY, 0); err != nil {
			return nil, err
		}
		defer func() {
			if e := out.Close(); err == nil {
				err = e
			}
		}()
		req.Stdout = out
	}
	return d.client.Get(ctx, req)
}
