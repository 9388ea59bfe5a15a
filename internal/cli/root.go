package cli

import (
	"context"
	"errors"
	"runtime/debug"
	"strings"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/jumpget/jumpget/internal/config"
)

const rootHelp = `JumpGet brings a file through a relay of your own: a machine with a good network
that you reach by ssh and that runs "jumpget serve". The relay downloads the URL;
you get each byte as soon as the relay has it, over every way there is, and every
chunk is checked. The same command goes on after any interruption.`

const rootExample = `  jumpget --relay me@vps https://example.com/f.iso
  jumpget -o - https://example.com/f.tar | tar x
  jumpget -i list.txt -d downloads
  jumpget try`

// rootCommand builds the tree of commands. The root itself is `get`.
func (a *app) rootCommand() *cobra.Command {
	root := &cobra.Command{
		Use:           "jumpget [flags] URL...",
		Short:         "bring a file through a relay of your own",
		Long:          rootHelp,
		Example:       rootExample,
		Version:       programVersion(a.proc.Version),
		Args:          cobra.ArbitraryArgs, // else cobra takes a URL for an unknown command
		SilenceErrors: true,
		SilenceUsage:  true,
	}
	root.SetVersionTemplate("jumpget {{.Version}}\n")
	root.SetGlobalNormalizationFunc(oldSpelling)
	root.SetFlagErrorFunc(func(cmd *cobra.Command, err error) error {
		if usage, ok := errors.AsType[*usageError](err); ok {
			return usage // a flag's own complaint says more
		}
		return usagef("%w", err).withHint("see `%s --help`", cmd.CommandPath())
	})
	root.Flags().BoolP("version", "V", false, "print the version")
	root.PersistentFlags().BoolP("help", "h", false, "tell what a command does and its flags")
	a.addDownload(root)
	group(root, "Files:", a.getCommand(), a.addCommand(), a.pullCommand(), a.tryCommand())
	group(root, "Jobs on the relay:", a.lsCommand(), a.rmCommand(), a.extendCommand(), a.linkCommand(), a.allowCommand())
	group(root, "The relay:", a.serveCommand(), a.doctorCommand(), a.sessionsCommand())
	group(root, about, a.configCommand(), a.manCommand(), a.versionCommand())
	root.AddCommand(a.bridgeCommand())
	root.SetHelpCommandGroupID(about)
	root.SetCompletionCommandGroupID(about)
	root.InitDefaultHelpCmd()
	root.InitDefaultCompletionCmd("completion")
	describe(root, "help", "tell what a command does")
	describe(root, "completion", "print the completion of commands, flags and jobs for a shell")
	return root
}

// about titles the commands that are about the program itself.
const about = "This program:"

// describe gives one of cobra's own commands a line in the style of ours.
func describe(root *cobra.Command, name, short string) {
	for _, c := range root.Commands() {
		if c.Name() == name {
			c.Short = short
		}
	}
}

// group adds commands under a title of their own in the help.
func group(root *cobra.Command, title string, cmds ...*cobra.Command) {
	root.AddGroup(&cobra.Group{ID: title, Title: title})
	for _, c := range cmds {
		c.GroupID = title
		root.AddCommand(c)
	}
}

// oldSpelling maps names that other programs, or the original, have for a flag
// to ours, so scripts and habits go on working.
func oldSpelling(_ *pflag.FlagSet, name string) pflag.NormalizedName {
	name = strings.ReplaceAll(name, "_", "-")
	if today, ok := spellings[name]; ok {
		name = today
	}
	return pflag.NormalizedName(name)
}

var spellings = map[string]string{
	"ssh-config":                "identity",       // the original
	"identity-file":             "identity",       // ssh
	"out":                       "output",         // aria2
	"input-file":                "input",          // aria2, wget
	"max-concurrent-downloads":  "jobs",           // aria2
	"max-connection-per-server": "connections",    // aria2
	"max-download-limit":        "limit-rate",     // aria2
	"http-passwd":               "http-password",  // aria2, old wget
	"max-tries":                 "tries",          // aria2
	"no-colour":                 "no-color",       // the other English
	"inet4-only":                "ipv4",           // wget
	"inet6-only":                "ipv6",           // wget
	"no-use-server-timestamps":  "no-remote-time", // wget
}

// action is a command's work, with the settings loaded.
type action func(ctx context.Context, args []string) error

// withConfig loads the settings before a command's work.
func (a *app) withConfig(do action) func(*cobra.Command, []string) error {
	return func(cmd *cobra.Command, args []string) error {
		cfg, err := config.Load(config.System(cmd.Flags()))
		if err != nil {
			return usagef("%w", err).withHint("`jumpget config` shows every setting and where it comes from")
		}
		a.cfg = cfg
		for _, w := range cfg.Warnings {
			a.say("jumpget: %s", w)
		}
		return do(cmd.Context(), args)
	}
}

// args turns cobra's complaint about the number of arguments into ours.
func args(check cobra.PositionalArgs) cobra.PositionalArgs {
	return func(cmd *cobra.Command, given []string) error {
		if err := check(cmd, given); err != nil {
			if usage, ok := errors.AsType[*usageError](err); ok {
				return usage // a flag's own complaint says more
			}
			return usagef("%w", err).withHint("usage: %s", cmd.UseLine())
		}
		return nil
	}
}

// addCommon defines the flags that every command has which talks to a relay.
func (a *app) addCommon(fs *pflag.FlagSet) {
	fs.BoolVarP(&a.quiet, "quiet", "q", false, "say nothing but errors")
	fs.BoolVarP(&a.verbose, "verbose", "v", false, "say more")
	fs.BoolVar(&a.json, "json", false, "JSON for programs, one object a line (docs/json.md)")
	fs.BoolVarP(&a.ipv4, "ipv4", "4", false, "reach the relay's public door over IPv4 only")
	fs.BoolVarP(&a.ipv6, "ipv6", "6", false, "reach the relay's public door over IPv6 only")
}

// relayFlags are the settings that say how to reach the relay: all that a
// command needs which moves no file.
var relayFlags = map[string]bool{
	"config": true, "relay": true, "host": true, "user": true, "ssh-port": true, "identity": true,
	"ssh": true, "local-port": true, "timeout": true, "no-session": true,
}

// addRelay defines the flags of a command that asks the relay something.
// Settings of downloads are accepted, for aliases that always give them, but
// not shown.
func (a *app) addRelay(cmd *cobra.Command) *cobra.Command {
	fs := cmd.Flags()
	config.AddFlags(fs, config.ForClient)
	fs.VisitAll(func(f *pflag.Flag) { f.Hidden = f.Hidden || !relayFlags[f.Name] })
	a.addCommon(fs)
	return cmd
}

// programVersion is the version given by the linker, or else what Go knows.
func programVersion(linked string) string {
	if linked != "" {
		return linked
	}
	info, ok := debug.ReadBuildInfo()
	if !ok || info.Main.Version == "" || info.Main.Version == "(devel)" {
		return "dev"
	}
	return info.Main.Version
}
