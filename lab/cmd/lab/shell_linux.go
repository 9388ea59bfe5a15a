package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"

	"github.com/spf13/cobra"

	"github.com/jumpget/jumpget/lab/emu"
	"github.com/jumpget/jumpget/lab/profile"
	"github.com/jumpget/jumpget/lab/topo"
)

func listCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "list",
		Short: "List the links",
		Args:  cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			for _, p := range profile.All() {
				fmt.Fprintf(cmd.OutOrStdout(), "%-8s limit %6.1f Mbit/s, RTT %v, loss %.1f %%: %s\n",
					p.Name, p.Limit()/1e6, p.RTT, p.Down.MeanLoss()*100, p.About)
			}
			return nil
		},
	}
}

func shellCommand() *cobra.Command {
	var seed uint64
	cmd := &cobra.Command{
		Use:   "shell LINK [COMMAND...]",
		Short: "Run a shell, or a command, on the client behind a link",
		Long: "Run a shell, or a command, on the client behind a link.\n\n" +
			"The origin is " + topo.OriginAddr + ", the relay " + topo.RelayAddr + "; `ip netns exec relay COMMAND`\n" +
			"runs something on another host. Everything ends with the shell.",
		Args: cobra.MinimumNArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			found, err := profile.Find(args[0])
			if err != nil {
				return err
			}
			return sandboxed(func() error { return shell(cmd.Context(), found[0], seed, args[1:]) })
		},
	}
	cmd.Flags().Uint64Var(&seed, "seed", 1, "the losses' random seed")
	cmd.Flags().SetInterspersed(false)
	return cmd
}

// sandboxed runs f inside the lab's sandbox: at once if this is its first
// process, else by running the whole program again in a new one.
func sandboxed(f func() error) error {
	if !topo.Inside() {
		code, err := topo.Enter()
		if err == nil && code != 0 {
			err = exitError(code)
		}
		return err
	}
	if err := topo.PrepareSandbox(); err != nil {
		return err
	}
	return f()
}

func shell(ctx context.Context, p profile.Profile, seed uint64, command []string) (err error) {
	t, err := topo.Up(ctx, p, seed)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, t.Down()) }()
	if len(command) == 0 {
		command = []string{os.Getenv("SHELL")}
		if command[0] == "" {
			command[0] = "/bin/sh"
		}
		fmt.Fprintf(os.Stderr, "behind %s (%s): origin %s, relay %s; exit ends it\n", p.Name, p.About, topo.OriginAddr, topo.RelayAddr)
	}
	cmd := exec.CommandContext(ctx, "ip", append([]string{"netns", "exec", string(topo.Client)}, command...)...)
	cmd.Stdin, cmd.Stdout, cmd.Stderr = os.Stdin, os.Stdout, os.Stderr
	return cmd.Run()
}

// emulateCommand is what topo starts; nobody types it.
func emulateCommand() *cobra.Command {
	return &cobra.Command{
		Use:    topo.EmulatorCommand + " OPTIONS",
		Hidden: true,
		Args:   cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			var o emu.Options
			if err := json.Unmarshal([]byte(args[0]), &o); err != nil {
				return err
			}
			return emu.Serve(o, cmd.InOrStdin(), cmd.OutOrStdout())
		},
	}
}
