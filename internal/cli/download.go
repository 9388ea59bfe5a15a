package cli

import (
	"strings"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/jumpget/jumpget/internal/config"
)

// originFlags are what is said to the origin. They travel over ssh alone.
type originFlags struct {
	headers      []string
	cookies      []string
	cookieFile   string
	referer      string
	user         string
	password     string
	passwordFile string
	netrc        bool
}

// outputFlags say where files go and what may stand there already.
type outputFlags struct {
	name         string
	dir          string // -P; the setting "dir" has a flag of its own
	adopt        bool   // -c
	noClobber    bool
	force        bool
	newer        bool // -N
	noRemoteTime bool
	checksums    []string
	exec         string
	dryRun       bool
	noBundle     bool
}

// downloadFlags are the flags of the main job that are no settings.
type downloadFlags struct {
	origin originFlags
	output outputFlags
	lists  []string // -i
}

// addDownload makes cmd the main job.
func (a *app) addDownload(cmd *cobra.Command) {
	f := &downloadFlags{}
	fs := cmd.Flags()
	f.output.add(fs)
	f.origin.add(fs)
	addLists(fs, &f.lists)
	fs.BoolVar(&f.output.noBundle, "no-bundle", false, "fetch each file by a job of its own, also many small ones")
	config.AddFlags(fs, config.ForClient)
	a.addCommon(fs)
	_ = cmd.MarkFlagDirname("dir")
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		if len(args) == 0 && len(f.lists) == 0 {
			return usagef("no URL is given").withHint("usage: jumpget [flags] URL..., or -i FILE; see `jumpget --help`")
		}
		f.output.name = outputName(f.output.name)
		a.stdoutIsData = f.output.name == "-"
		return a.withConfig(a.get(f))(cmd, args)
	}
}

func addLists(fs *pflag.FlagSet, lists *[]string) {
	fs.StringArrayVarP(lists, "input", "i", nil, "read URLs from `FILE`, - for standard input: one a line, mirrors separated by TAB")
}

func (o *outputFlags) add(fs *pflag.FlagSet) {
	fs.StringVarP(&o.name, "output", "o", "", "write to `FILE`; - is standard output, in order and verified")
	hidden(fs, &pflag.Flag{Name: "output-document", Shorthand: "O", Value: (*wgetOutput)(&o.name)})
	hidden(fs, &pflag.Flag{Name: "directory-prefix", Shorthand: "P", Value: (*text)(&o.dir)})
	fs.BoolVarP(&o.adopt, "continue", "c", false, "also take over a file that another program left, after checking it; our own always continue")
	fs.BoolVar(&o.noClobber, "no-clobber", false, "fail if the file exists (default: write name.1)")
	fs.BoolVar(&o.force, "force", false, "replace the file if it exists")
	fs.BoolVarP(&o.newer, "timestamping", "N", false, "fetch only what is newer than the file here")
	fs.BoolVar(&o.noRemoteTime, "no-remote-time", false, "leave the file's time alone (default: that of the origin)")
	fs.StringArrayVar(&o.checksums, "checksum", nil, "what the file has to be: `TYPE=HEX` with sha256, sha512, sha1 or md5")
	fs.StringVar(&o.exec, "exec", "", "run `COMMAND` with each finished file as its last argument, without a shell")
	fs.BoolVar(&o.dryRun, "dry-run", false, "say what would be done, and do nothing")
}

func (o *originFlags) add(fs *pflag.FlagSet) {
	fs.StringArrayVarP(&o.headers, "header", "H", nil, "send `'NAME: VALUE'` to the origin")
	fs.StringArrayVarP(&o.cookies, "cookie", "b", nil, "send `NAME=VALUE` as a cookie; without a = it names a cookie file")
	fs.StringVar(&o.cookieFile, "load-cookies", "", "send the cookies for the URL's host from a Netscape `FILE`")
	fs.StringVar(&o.referer, "referer", "", "send `URL` as the referer")
	fs.StringVar(&o.user, "http-user", "", "log in at the origin as `NAME`; the password is asked for")
	fs.StringVar(&o.password, "http-password", "", "the `PASSWORD` for it; others on this machine can see it, so prefer being asked")
	fs.StringVar(&o.passwordFile, "password-file", "", "read the password from the first line of `FILE`")
	fs.BoolVar(&o.netrc, "netrc", false, "take the login for the URL's host from ~/.netrc")
}

func hidden(fs *pflag.FlagSet, f *pflag.Flag) {
	f.Hidden = true
	f.DefValue = f.Value.String()
	fs.AddFlag(f)
}

// text is a string flag's value, for flags that need a name of their own but
// share a variable.
type text string

func (t *text) String() string     { return string(*t) }
func (t *text) Set(s string) error { *t = text(s); return nil }
func (t *text) Type() string       { return "string" }

// wgetOutput is wget's -O, which names a file; curl's -O names none, so there
// the next word is the URL.
type wgetOutput string

func (o *wgetOutput) String() string { return string(*o) }
func (o *wgetOutput) Type() string   { return "string" }
func (o *wgetOutput) Set(s string) error {
	if looksLikeURL(s) {
		return usagef("-O takes a file name here, as in wget, and %q is a URL", s).withHint("the URL alone is enough: jumpget %s", s)
	}
	*o = wgetOutput(s)
	return nil
}

// looksLikeURL reports whether a word is meant as a URL: it has a scheme, or
// is a host with a path.
func looksLikeURL(s string) bool {
	if strings.Contains(s, "://") {
		return true
	}
	host, _, ok := strings.Cut(s, "/")
	return ok && strings.Trim(host, ".") != "" && strings.ContainsAny(host, ".:") && !strings.HasPrefix(host, ".")
}
