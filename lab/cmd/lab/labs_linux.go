package main

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"strconv"
	"strings"

	"github.com/spf13/cobra"

	"github.com/jumpget/jumpget/lab/topo"
)

// The commands on labs that stand on this machine. A lab that was killed is none
// of them; one whose starter was killed is, and `lab stop` ends it.

func psCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "ps",
		Short: "List the labs that stand on this machine",
		Args:  cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			labs, err := topo.Running()
			for _, l := range labs {
				say(cmd.OutOrStdout(), fmt.Sprintf("%-12s process %d: %s", l.Prefix, l.PID, commandLine(l.PID)))
			}
			return err
		},
	}
}

func commandLine(pid int) string {
	b, err := os.ReadFile(fmt.Sprintf("/proc/%d/cmdline", pid))
	if err != nil {
		return "ended"
	}
	return strings.TrimSpace(strings.ReplaceAll(string(b), "\x00", " "))
}

func stopCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "stop [PREFIX]",
		Short: "End a lab, as one left over from a killed run",
		Args:  cobra.MaximumNArgs(1),
		RunE: func(_ *cobra.Command, args []string) error {
			l, err := topo.Find(strings.Join(args, ""))
			if err != nil {
				return err
			}
			return l.Stop()
		},
	}
}

func enterCommand() *cobra.Command {
	var prefix string
	cmd := &cobra.Command{
		Use:   "enter HOST COMMAND...",
		Short: "Run a command on a host (client, neighbour, router, origin, relay) of a lab that stands",
		Args:  cobra.MinimumNArgs(2),
		RunE: func(cmd *cobra.Command, args []string) error {
			l, err := topo.Find(prefix)
			if err != nil {
				return err
			}
			return enter(cmd.Context(), l, args)
		},
	}
	cmd.Flags().StringVar(&prefix, "prefix", "", "the lab (default: the only one there is)")
	cmd.Flags().SetInterspersed(false)
	return cmd
}

func enter(ctx context.Context, l topo.Lab, args []string) error {
	pid, err := l.Init()
	if err != nil {
		return err
	}
	line := append([]string{"--target", strconv.Itoa(pid), "--mount", "--pid", "--", "ip", "netns", "exec"}, args...)
	c := exec.CommandContext(ctx, "nsenter", line...)
	c.Stdin, c.Stdout, c.Stderr = os.Stdin, os.Stdout, os.Stderr
	return c.Run()
}

// otherLabs tells of labs that would take processor time from a measurement.
func otherLabs(own string) []string {
	labs, err := topo.Running()
	if err != nil {
		return nil
	}
	var notes []string
	for _, l := range labs {
		if l.Prefix != own {
			notes = append(notes, fmt.Sprintf("another lab, %[1]s (process %[2]d), stands as well and may disturb the figures; `lab stop %[1]s` ends it", l.Prefix, l.PID))
		}
	}
	return notes
}
