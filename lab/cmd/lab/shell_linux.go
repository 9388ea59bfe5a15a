package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"syscall"
	"time"

	"github.com/spf13/cobra"

	"github.com/jumpget/jumpget/lab/bench"
	"github.com/jumpget/jumpget/lab/emu"
	"github.com/jumpget/jumpget/lab/peer"
	"github.com/jumpget/jumpget/lab/profile"
	"github.com/jumpget/jumpget/lab/scenario"
	"github.com/jumpget/jumpget/lab/topo"
)

func listCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "list",
		Short: "List the links, the scenarios and the peers",
		Args:  cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			w := cmd.OutOrStdout()
			say(w, "Links:")
			for _, p := range profile.All() {
				say(w, fmt.Sprintf("  %-16s limit %6.1f Mbit/s, RTT %v, loss %.1f %%: %s",
					p.Name, p.Limit()/1e6, p.RTT, p.Down.MeanLoss()*100, p.About))
			}
			say(w, "Scenarios:")
			for _, s := range scenario.All() {
				say(w, fmt.Sprintf("  %-16s %s", s.Name, s.About))
			}
			say(w, "Peers:")
			for _, p := range peer.All() {
				missing := ""
				if m := p.Missing(); len(m) > 0 {
					missing = fmt.Sprintf(" (missing: %v)", m)
				}
				say(w, fmt.Sprintf("  %-16s %s%s", p.Name, p.About, missing))
			}
			return nil
		},
	}
}

func checkCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "check",
		Short: "Say what this machine lacks for the lab, if anything",
		Args:  cobra.NoArgs,
		RunE:  func(*cobra.Command, []string) error { return bench.Check() },
	}
}

func shellCommand() *cobra.Command {
	var seed uint64
	var prefix string
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
			ctx := cmd.Context()
			return sandboxed(ctx, prefix, func() error { return shell(ctx, found[0], seed, args[1:]) })
		},
	}
	addPrefix(cmd, &prefix)
	cmd.Flags().Uint64Var(&seed, "seed", typicalSeed, "the losses' random seed")
	cmd.Flags().SetInterspersed(false)
	return cmd
}

// typicalSeed is one whose first hundreds of packets lose what the link loses in
// the long run, so that a short ping shows the link as it is described.
const typicalSeed = 54

func addPrefix(cmd *cobra.Command, prefix *string) {
	cmd.Flags().StringVar(prefix, "prefix", "", "the lab's name among those of this machine (default: the first free of lab, lab2, ...)")
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
		say(os.Stderr, fmt.Sprintf("lab %s, behind %s (%s): origin %s, relay %s; exit ends it",
			topo.Prefix(), p.Name, p.About, topo.OriginAddr, topo.RelayAddr))
	}
	cmd := exec.CommandContext(ctx, "ip", append([]string{"netns", "exec", string(topo.Client)}, command...)...)
	cmd.Stdin, cmd.Stdout, cmd.Stderr = os.Stdin, os.Stdout, os.Stderr
	cmd.Cancel = func() error { return cmd.Process.Signal(syscall.SIGTERM) }
	cmd.WaitDelay = time.Second
	err = cmd.Run()
	if ctx.Err() != nil {
		return ctx.Err()
	}
	return err
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
