package cli

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/jumpget/jumpget/internal/client"
	"github.com/jumpget/jumpget/internal/progress"
	"github.com/jumpget/jumpget/internal/sshdial"
	"github.com/jumpget/jumpget/internal/wire"
)

const doctorHelp = `Answers "is my relay available?": it connects by ssh, asks the relay what it is, and
knocks at its public door. Each line says ok, note or bad; below a bad one stands
what to do. The exit code is that of the first bad one.`

func (a *app) doctorCommand() *cobra.Command {
	return a.addRelay(&cobra.Command{
		Use:   "doctor",
		Short: "is my relay available, and what is wrong if not",
		Long:  doctorHelp,
		Args:  args(cobra.NoArgs),
		RunE:  a.withConfig(func(ctx context.Context, _ []string) error { return a.doctor(ctx) }),
	})
}

// The verdicts of a finding.
const (
	findOK   = "ok"
	findNote = "note" // worth knowing, no hindrance
	findBad  = "bad"
)

// finding is one line of the doctor's report.
type finding struct {
	What    string `json:"check"`
	Verdict string `json:"verdict"`
	Text    string `json:"text"`
	Hint    string `json:"hint,omitempty"`
	Exit    int    `json:"exit,omitempty"`
}

// examination collects findings and shows each as it comes.
type examination struct {
	app  *app
	exit int   // of the first bad finding
	err  error // of writing
}

func (e *examination) tell(f finding) {
	if f.Verdict == findBad && e.exit == exitOK {
		e.exit = f.Exit
	}
	if e.app.json {
		e.err = errors.Join(e.err, e.app.writeJSON(f))
		return
	}
	line := fmt.Sprintf("%-5s %-9s %s\n", f.Verdict, f.What, progress.Printable(f.Text))
	if f.Hint != "" && f.Verdict != findOK {
		line += fmt.Sprintf("%-5s %-9s -> %s\n", "", "", progress.Printable(f.Hint))
	}
	_, err := io.WriteString(e.app.proc.Out, line)
	e.err = errors.Join(e.err, err)
}

func (e *examination) ok(what, format string, args ...any) {
	e.tell(finding{What: what, Verdict: findOK, Text: fmt.Sprintf(format, args...)})
}

func (e *examination) note(what, hint, format string, args ...any) {
	e.tell(finding{What: what, Verdict: findNote, Text: fmt.Sprintf(format, args...), Hint: hint})
}

func (e *examination) bad(ctx context.Context, what string, err error) {
	f := classify(ctx, err)
	e.tell(finding{What: what, Verdict: findBad, Text: f.Message, Hint: f.Hint, Exit: f.Exit})
}

func (a *app) doctor(ctx context.Context) error {
	a.cfg.Client.NoSession = true // it looks at ssh, too
	e := &examination{app: a}
	if err := e.examine(ctx); err != nil {
		return err
	}
	if e.err != nil {
		return fmt.Errorf("writing the report: %w", e.err)
	}
	if e.exit != exitOK {
		return &shownError{e.exit}
	}
	return nil
}

// examine goes from the ground up and stops where nothing further can be told.
func (e *examination) examine(ctx context.Context) error {
	ssh, err := e.app.sshConfig()
	if err != nil {
		return err
	}
	if host, err := sshdial.Resolve(ctx, ssh); err == nil {
		e.ok("name", "%s is %s, port %d%s", ssh.Host, host.Hostname, host.Port, jumpText(host.ProxyJump))
	}
	return e.app.withClient(func(c *client.Client) error {
		begin := time.Now()
		if _, err := c.Status(ctx); err != nil {
			e.bad(ctx, "ssh", err)
			return nil // it has been told
		}
		cold := time.Since(begin)
		begin = time.Now()
		status, err := c.Status(ctx)
		if err != nil {
			e.bad(ctx, "relay", err)
			return nil
		}
		rtt := time.Since(begin)
		e.ok("ssh", "up in %s, a round trip is %s, you are %s there", cold.Round(time.Millisecond), rtt.Round(time.Millisecond/10), status.User)
		e.relay(status, begin.Add(rtt/2))
		e.door(ctx, c, status)
		return nil
	})
}

func jumpText(jump bool) string {
	if jump {
		return ", through another host"
	}
	return ""
}

// relay judges what the relay says of itself. here is our clock's time at the
// moment when the relay told its own.
func (e *examination) relay(s *wire.Status, here time.Time) {
	if s.Contract == wire.Version {
		e.ok("relay", "version %s, contract %d, %s of yours", s.Version, s.Contract, jobsText(s.Jobs))
	} else {
		e.tell(finding{
			What: "relay", Verdict: findBad, Exit: exitRelay,
			Text: fmt.Sprintf("version %s speaks contract %d, this one speaks %d", s.Version, s.Contract, wire.Version),
			Hint: "install the same version on both machines",
		})
	}
	if diff := s.Time.Sub(here); diff.Abs() < 5*time.Second {
		e.ok("clock", "%s apart", diff.Abs().Round(time.Millisecond))
	} else {
		e.note("clock", "downloads work all the same, but expiry times look odd: set both clocks by NTP", "%s apart", progress.Duration(diff.Abs()))
	}
	e.disk(s)
	if s.BBR {
		e.ok("bbr", "the relay sends with BBR")
	} else {
		e.note("bbr", "lossy links are faster with it: docs/relay.md says how the relay gets it", "the relay can't send with BBR")
	}
}

func jobsText(n int) string {
	if n == 1 {
		return "one job"
	}
	return strconv.Itoa(n) + " jobs"
}

// tightDisk is where an ordinary download begins to fail.
const tightDisk = 1 << 30

func (e *examination) disk(s *wire.Status) {
	text := fmt.Sprintf("%s free, %s used", progress.Size(s.DiskFree), progress.Size(s.Used))
	if s.Quota > 0 {
		text += " of a quota of " + progress.Size(s.Quota)
	}
	text += fmt.Sprintf(", files are kept %s", progress.Duration(time.Duration(s.Retain)*time.Second))
	if s.DiskFree < tightDisk {
		e.note("disk", "`jumpget ls` and `jumpget rm` make room", "%s", text)
		return
	}
	e.ok("disk", "%s", strings.TrimSpace(text))
}
