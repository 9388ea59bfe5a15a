package cli

import (
	"fmt"
	"io"
	"strings"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
)

func (a *app) manCommand() *cobra.Command {
	return &cobra.Command{
		Use:     "man",
		Short:   "print the manual page",
		Example: "  jumpget man | man -l -\n  jumpget man > /usr/local/share/man/man1/jumpget.1",
		Args:    args(cobra.NoArgs),
		RunE: func(cmd *cobra.Command, _ []string) error {
			_, err := io.WriteString(a.proc.Out, manual(cmd.Root()))
			return err
		},
	}
}

// manual renders the tree of commands as one page in man(7)'s macros. cobra's
// own generator makes a page for each command and brings a Markdown library.
func manual(root *cobra.Command) string {
	var b strings.Builder
	line := func(format string, args ...any) { _, _ = fmt.Fprintf(&b, format+"\n", args...) }
	line(`.TH JUMPGET 1 "" "jumpget %s" "User Commands"`, roff(root.Version))
	line(".SH NAME\njumpget \\- %s", roff(root.Short))
	line(".SH SYNOPSIS\n.B %s", roff(root.UseLine()))
	line(".br\n.B jumpget\n.I COMMAND\n[flags] [arguments]")
	line(".SH DESCRIPTION\n%s", roff(root.Long))
	line(".SH FLAGS")
	manFlags(&b, root)
	line(".SH COMMANDS")
	for _, c := range root.Commands() {
		if c.IsAvailableCommand() {
			manCommand(&b, c)
		}
	}
	line(".SH EXIT STATUS")
	for _, e := range exitHelp {
		line(".TP\n.B %d\n%s", e.code, roff(e.text))
	}
	line(".SH FILES")
	for _, f := range manFiles {
		line(".TP\n.I %s\n%s", roff(f.name), roff(f.text))
	}
	line(".SH ENVIRONMENT\n%s", roff(manEnvironment))
	line(".SH EXAMPLES\n.nf\n%s\n.fi", roff(root.Example))
	line(".SH SEE ALSO\n.BR ssh (1),\n.BR ssh_config (5)")
	return b.String()
}

// manFiles are the places of package config, the weakest first.
var manFiles = []struct{ name, text string }{
	{"/etc/jumpget/config.yaml", "settings for everybody on this machine"},
	{"$XDG_CONFIG_HOME/jumpget/config.yaml", "your settings; ~/.config where the variable is not set"},
	{"~/.jumpget.yaml", "your settings, which count more; one named by --config or JUMPGET_CONFIG is read instead of all three"},
}

const manEnvironment = `Each setting has a variable, which counts more than the files and less than the flag:
that of --ssh-port is JUMPGET_SSH_PORT. "jumpget config" prints every setting and where
its value came from.`

func manCommand(b *strings.Builder, c *cobra.Command) {
	_, _ = fmt.Fprintf(b, ".SS jumpget %s\n%s\n", roff(c.Use), roff(c.Short))
	if c.Long != "" {
		_, _ = fmt.Fprintf(b, ".PP\n%s\n", roff(c.Long))
	}
	if c.Name() != "get" { // its flags stand above
		manFlags(b, c)
	}
}

func manFlags(b *strings.Builder, c *cobra.Command) {
	c.LocalFlags().VisitAll(func(f *pflag.Flag) {
		if f.Hidden || f.Name == "help" && c.HasParent() {
			return
		}
		b.WriteString(".TP\n.B ")
		if f.Shorthand != "" {
			_, _ = fmt.Fprintf(b, `\-%s, `, f.Shorthand)
		}
		what, usage := pflag.UnquoteUsage(f)
		_, _ = fmt.Fprintf(b, `\-\-%s`, roff(f.Name))
		if what != "" {
			_, _ = fmt.Fprintf(b, " %s", roff(strings.ToUpper(what)))
		}
		_, _ = fmt.Fprintf(b, "\n%s\n", roff(usage))
	})
}

// roff escapes text for man(7): a dash that can be copied, no control lines.
func roff(s string) string {
	s = strings.NewReplacer(`\`, `\e`, "-", `\-`).Replace(s)
	lines := strings.Split(s, "\n")
	for i, l := range lines {
		if strings.HasPrefix(l, ".") || strings.HasPrefix(l, "'") {
			lines[i] = `\&` + l
		}
	}
	return strings.Join(lines, "\n")
}
