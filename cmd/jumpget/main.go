// Command jumpget brings a file through a relay of your own.
//
// See `jumpget --help`; everything lives in internal/cli.
package main

import (
	"context"
	"os"

	"github.com/jumpget/jumpget/internal/cli"
)

var version string // set by the linker for a release

func main() {
	ctx, stop := cli.SignalContext(context.Background())
	code := cli.Run(ctx, os.Args[1:], cli.OS(version))
	stop()
	os.Exit(code)
}
