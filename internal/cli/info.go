package cli

import (
	"context"
	"fmt"
	"runtime"
	"text/tabwriter"

	"github.com/spf13/cobra"

	"github.com/jumpget/jumpget/internal/config"
	"github.com/jumpget/jumpget/internal/progress"
	"github.com/jumpget/jumpget/internal/wire"
)

func (a *app) versionCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "version",
		Short: "print the version",
		Args:  args(cobra.NoArgs),
		RunE: func(*cobra.Command, []string) error {
			v := programVersion(a.proc.Version)
			if a.json {
				return a.writeJSON(map[string]any{"version": v, "contract": wire.Version, "go": runtime.Version(), "os": runtime.GOOS, "arch": runtime.GOARCH})
			}
			_, err := fmt.Fprintf(a.proc.Out, "jumpget %s, contract %d, %s %s/%s\n", v, wire.Version, runtime.Version(), runtime.GOOS, runtime.GOARCH)
			return err
		},
	}
	cmd.Flags().BoolVar(&a.json, "json", false, "JSON for programs")
	return cmd
}

func (a *app) configCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "config",
		Short: "print every setting, its value and where it came from",
		Args:  args(cobra.NoArgs),
		RunE: a.withConfig(func(context.Context, []string) error {
			rows := a.cfg.Explain()
			if a.json {
				for _, r := range rows {
					if err := a.writeJSON(map[string]string{"key": r.Key, "value": r.Value, "from": r.From}); err != nil {
						return err
					}
				}
				return nil
			}
			w := tabwriter.NewWriter(a.proc.Out, 0, 0, 2, ' ', 0)
			_, _ = fmt.Fprintln(w, "KEY\tVALUE\tFROM")
			for _, r := range rows {
				_, _ = fmt.Fprintf(w, "%s\t%s\t%s\n", r.Key, progress.Printable(r.Value), progress.Printable(r.From))
			}
			return w.Flush()
		}),
	}
	config.AddFlags(cmd.Flags(), config.ForClient|config.ForRelay)
	cmd.Flags().BoolVar(&a.json, "json", false, "JSON for programs, one object a line")
	return cmd
}
