package cli

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/jumpget/jumpget/internal/bundle"
	"github.com/jumpget/jumpget/internal/job"
	"github.com/jumpget/jumpget/internal/partial"
	"github.com/jumpget/jumpget/internal/sshdial"
	"github.com/jumpget/jumpget/internal/transport"
)

func TestParseList(t *testing.T) {
	const text = "\ufeff# a comment\r\n" +
		"https://a.example/1\thttps://b.example/1\r\n" +
		"  out=one.bin\n\tchecksum=sha256=00\n  header=X-A: b\n" +
		"\n  # indented comment\n" +
		"https://a.example/2  \n  dir=sub"
	want := []listEntry{
		{URLs: []string{"https://a.example/1", "https://b.example/1"}, Out: "one.bin", Checksum: "sha256=00", Header: []string{"X-A: b"}, Line: 2},
		{URLs: []string{"https://a.example/2"}, Dir: "sub", Line: 8},
	}
	got, err := parseList(strings.NewReader(text))
	if err != nil {
		t.Fatal(err)
	}
	if d := cmp.Diff(want, got); d != "" {
		t.Error(d)
	}
}

func TestParseListRefusesWhatItDoesNotKnow(t *testing.T) {
	for _, text := range []string{"  out=x\n", "https://a/\n  out\n", "https://a/\n  max-tries=3\n"} {
		_, err := parseList(strings.NewReader(text))
		if _, ok := errors.AsType[*usageError](err); !ok {
			t.Errorf("%q: %v, want a usage error", text, err)
		}
	}
}

func FuzzParseList(f *testing.F) {
	f.Add("https://a/1\thttps://b/1\n  out=x\n#\n")
	f.Fuzz(func(t *testing.T, text string) {
		entries, err := parseList(strings.NewReader(text))
		if err != nil {
			return
		}
		for _, e := range entries {
			if len(e.URLs) == 0 || slices.Contains(e.URLs, "") {
				t.Errorf("an entry without a URL: %+v", e)
			}
		}
	})
}

func TestCookies(t *testing.T) {
	soon := time.Now().Add(time.Hour).Unix()
	text := fmt.Sprintf("# Netscape HTTP Cookie File\n"+
		".example.com\tTRUE\t/\tFALSE\t%d\twide\t1\n"+
		"#HttpOnly_www.example.com\tFALSE\t/\tTRUE\t0\tsecure\t2\n"+
		"www.example.com\tFALSE\t/deep\tFALSE\t0\tdeep\t3\n"+
		"example.com\tFALSE\t/\tFALSE\t1\told\t4\n"+
		".com\tTRUE\t/\tFALSE\t0\tsuper\t5\n", soon)
	jar, err := parseCookies(strings.NewReader(text))
	if err != nil {
		t.Fatal(err)
	}
	for target, want := range map[string][]string{
		"https://www.example.com/":      {"secure=2", "wide=1"},
		"http://www.example.com/":       {"wide=1"},
		"http://www.example.com/deep/x": {"deep=3", "wide=1"},
		"http://example.com/":           {"wide=1"},
		"http://example.org/":           nil,
		"http://other.com/":             nil,
	} {
		u, err := url.Parse(target)
		if err != nil {
			t.Fatal(err)
		}
		var got []string
		if h := cookieHeader(jar, u); h != "" {
			got = strings.Split(h, "; ")
			slices.Sort(got)
		}
		if d := cmp.Diff(want, got); d != "" {
			t.Errorf("%s: %s", target, d)
		}
	}
	if _, err := parseCookies(strings.NewReader("a b c\n")); err == nil {
		t.Error("a line with spaces for TABs was taken")
	}
}

func TestNetrc(t *testing.T) {
	const text = "# mine\nmacdef init\nmachine evil login x password y\n\n" +
		"machine a.example login anna password s3cret\n" +
		"machine b.example\n  account z\n  password pw login bob\n" +
		"default login anonymous password guest\n"
	for host, want := range map[string]login{
		"a.example": {"anna", "s3cret"},
		"B.example": {"bob", "pw"},
		"c.example": {"anonymous", "guest"},
		"evil":      {"anonymous", "guest"},
	} {
		if got, ok := parseNetrc(text, host); !ok || got != want {
			t.Errorf("%s: %v %v, want %v", host, got, ok, want)
		}
	}
	if _, ok := parseNetrc("machine a login b", "c"); ok {
		t.Error("a login was made up")
	}
}

func FuzzParseNetrc(f *testing.F) {
	f.Add("machine a login b password c\ndefault login d", "a")
	f.Add("macdef x\ny\n\nmachine", "")
	f.Fuzz(func(_ *testing.T, text, host string) { parseNetrc(text, host) })
}

func TestParseChecksums(t *testing.T) {
	sha := strings.Repeat("Ab", 32)
	got, err := parseChecksums([]string{"SHA-256=" + sha, "md5=" + strings.Repeat("00", 16)})
	want := map[string]string{"sha256": strings.ToLower(sha), "md5": strings.Repeat("00", 16)}
	if d := cmp.Diff(want, got); err != nil || d != "" {
		t.Error(err, d)
	}
	for _, bad := range []string{"sha256", "sha256=", "sha256=zz", "crc32=00000000", "md5=" + sha} {
		if _, err := parseChecksums([]string{bad}); err == nil {
			t.Errorf("%q was taken", bad)
		}
	}
}

func TestParseAge(t *testing.T) {
	for s, want := range map[string]time.Duration{
		"12": 12 * time.Hour, "0.5": 30 * time.Minute, "90m": 90 * time.Minute, "2d": 48 * time.Hour, "1h30m": 90 * time.Minute,
	} {
		if got, err := parseAge(s); err != nil || got != want {
			t.Errorf("%s: %v %v", s, got, err)
		}
	}
	for _, s := range []string{"", "x", "-1h", "0", "1w", "NaN", "inf", "1e300"} {
		if d, err := parseAge(s); err == nil {
			t.Errorf("%q was taken as %v", s, d)
		}
	}
}

func TestLooksLikeURL(t *testing.T) {
	for s, want := range map[string]bool{
		"https://a/b": true, "ftp://x": true, "example.com/f": true, "localhost:80/f": true, "1.2.3.4/f": true,
		"f.iso": false, "dir/file": false, "./f": false, "../f": false, "/abs/f": false, "-": false, "": false, ".hidden/f": false,
	} {
		if got := looksLikeURL(s); got != want {
			t.Errorf("%q: %v", s, got)
		}
	}
}

func TestServerFlag(t *testing.T) {
	for in, want := range map[string]string{
		"--server":                   "serve",
		"--local-port 4101 --server": "serve --local-port 4101",
		"-- --server":                "-- --server",
		"https://a/b":                "https://a/b",
	} {
		if got := strings.Join(serverFlag(strings.Fields(in)), " "); got != want {
			t.Errorf("%q became %q, want %q", in, got, want)
		}
	}
}

func TestCombine(t *testing.T) {
	for want, codes := range map[int][]int{
		exitOK:       {0, 0},
		exitOther:    {0, 1, 0},
		exitOrigin:   {1, 8, 9, 0},
		exitFile:     {8, 3, 1},
		exitChecksum: {9},
	} {
		if got := combine(codes); got != want {
			t.Errorf("%v: %d, want %d", codes, got, want)
		}
	}
}

// TestEveryKindHasAnExitCode reads the constants where they are declared, so
// that a new kind can't be forgotten.
func TestEveryKindHasAnExitCode(t *testing.T) {
	for _, c := range constants(t, "../job", "Code") {
		if _, ok := jobExit[job.Code(c)]; !ok {
			t.Errorf("job.Code %q has no exit code", c)
		}
	}
	for _, c := range constants(t, "../sshdial", "Kind") {
		if _, ok := sshExit[sshdial.Kind(c)]; !ok {
			t.Errorf("sshdial.Kind %q has no exit code", c)
		}
	}
	for _, c := range constants(t, "../partial", "Kind") {
		if _, ok := fileExit[partial.Kind(c)]; !ok {
			t.Errorf("partial.Kind %q has no exit code", c)
		}
	}
}

// constants returns the values of a package's string constants of one type.
func constants(t *testing.T, dir, typ string) []string {
	t.Helper()
	names, err := filepath.Glob(filepath.Join(dir, "*.go"))
	if err != nil {
		t.Fatal(err)
	}
	var values []string
	for _, name := range names {
		file, err := parser.ParseFile(token.NewFileSet(), name, nil, 0)
		if err != nil {
			t.Fatal(err)
		}
		ast.Inspect(file, func(n ast.Node) bool {
			spec, ok := n.(*ast.ValueSpec)
			if !ok {
				return true
			}
			if id, ok := spec.Type.(*ast.Ident); !ok || id.Name != typ {
				return true
			}
			for _, v := range spec.Values {
				if lit, ok := v.(*ast.BasicLit); ok && lit.Kind == token.STRING {
					s, err := strconv.Unquote(lit.Value)
					if err != nil {
						t.Fatal(err)
					}
					values = append(values, s)
				}
			}
			return true
		})
	}
	if len(values) < 5 {
		t.Fatalf("found only %v in %s", values, dir)
	}
	return values
}

func TestClassify(t *testing.T) {
	wrap := func(err error) error { return fmt.Errorf("fetching: %w", err) }
	for _, c := range []struct {
		err  error
		exit int
	}{
		{usagef("x"), exitUsage},
		{wrap(job.Errorf(job.CodeOriginLogin, "x")), exitLogin},
		{wrap(&sshdial.Error{Kind: sshdial.NoRelay}), exitRelay},
		{wrap(&partial.Error{Kind: partial.KindExists}), exitExists},
		{wrap(&transport.PinMismatchError{}), exitTLS},
		{wrap(&transport.UnreachableError{Err: syscall.ECONNREFUSED}), exitNetwork},
		{wrap(context.DeadlineExceeded), exitNetwork},
		{wrap(context.Canceled), exitInterrupt},
		{wrap(&os.PathError{Op: "open", Path: "x", Err: syscall.EACCES}), exitFile},
		{errors.New("x"), exitOther},
	} {
		if f := classify(context.Background(), c.err); f.Exit != c.exit {
			t.Errorf("%v: exit %d, want %d", c.err, f.Exit, c.exit)
		}
	}
}

func TestSignalDecidesTheExitCode(t *testing.T) {
	for sig, want := range map[os.Signal]int{os.Interrupt: exitInterrupt, syscall.SIGTERM: exitTerminated} {
		ctx, cancel := context.WithCancelCause(context.Background())
		cancel(signalError{sig})
		// Whatever broke because of it, the signal is what happened.
		if f := classify(ctx, &sshdial.Error{Kind: sshdial.Died}); f.Exit != want || f.Hint != goOn {
			t.Errorf("%v: %+v, want exit %d", sig, f, want)
		}
	}
}

func TestErrorsNeverCarryEscapes(t *testing.T) {
	var out, errs bytes.Buffer
	a := &app{proc: Process{Out: &out, Err: &errs}}
	code := a.finish(context.Background(), job.Errorf(job.CodeOriginStatus, "\x1b[2Jgone\u202e").WithHint("a\nb"))
	if code != exitOrigin || strings.ContainsAny(errs.String(), "\x1b\u202e") || strings.Count(errs.String(), "\n") != 2 {
		t.Errorf("%d %q", code, errs.String())
	}
}

func TestDashInFrontOfAFileNameIsNoFlag(t *testing.T) {
	if got := argument("-rf"); got == "-rf" {
		t.Error("a file's name could be read as a flag")
	}
	if got := argument("/a/b"); got != "/a/b" {
		t.Error(got)
	}
}

func TestSampleIsTheSameAtEveryOffset(t *testing.T) {
	whole := make([]byte, 100)
	_, _ = noise{}.ReadAt(whole, 3)
	for off := range 90 {
		part := make([]byte, 10)
		_, _ = noise{}.ReadAt(part, int64(3+off))
		if !bytes.Equal(part, whole[off:off+10]) {
			t.Fatalf("differs at %d", off)
		}
	}
}

func TestManualHasEveryCommandAndNoStrayMacro(t *testing.T) {
	a := &app{}
	root := a.rootCommand()
	page := manual(root)
	for _, c := range root.Commands() {
		if c.IsAvailableCommand() && !strings.Contains(page, ".SS jumpget "+roff(c.Use)) {
			t.Errorf("%s is missing", c.Name())
		}
	}
	if got := roff(".x\n'y\n-z\\"); got != "\\&.x\n\\&'y\n\\-z\\e" {
		t.Errorf("%q", got)
	}
}

// A list of a hundred thousand lines is parted into bundles that a relay takes,
// about equally long, and every line is in one of them.
func TestLongLists(t *testing.T) {
	var text strings.Builder
	for i := range 100_000 {
		fmt.Fprintf(&text, "https://a.example/files/%06d.bin\n\n# %d\n", i, i)
	}
	entries, err := parseList(strings.NewReader(text.String() + "https://a.example/files/000000.bin\n"))
	if err != nil {
		t.Fatal(err)
	}
	entries, twice := dropTwins(entries, 0, "")
	if len(entries) != 100_000 || twice != 1 {
		t.Fatalf("%d entries, %d twice", len(entries), twice)
	}
	orders := make([]order, len(entries))
	for i, e := range entries {
		orders[i].req = job.Request{URL: e.URLs[0]}
	}
	checkUnits(t, orders, (&downloads{}).units(orders), 50)
}

// checkUnits checks that each order is in one unit, and that relays take them.
func checkUnits(t *testing.T, orders []order, units []unit, want int) {
	t.Helper()
	seen := make([]int, len(orders))
	numbers := map[int]bool{}
	for _, u := range units {
		var files []job.File
		for _, n := range u.orders {
			seen[n]++
			files = append(files, orders[n].file())
		}
		if numbers[u.number] || len(u.orders) > 1 && u.number < len(orders) {
			t.Errorf("the number %d stands for several", u.number)
		}
		numbers[u.number] = true
		_, err := bundle.DecodeList(bundle.EncodeList(files))
		if err != nil && len(u.orders) > 1 {
			t.Errorf("a unit of %d: %v", len(files), err)
		}
	}
	for n, times := range seen {
		if times != 1 {
			t.Errorf("order %d is in %d units", n, times)
		}
	}
	if len(units) != want {
		t.Errorf("%d units, want %d", len(units), want)
	}
}

func TestWhatComesInBundles(t *testing.T) {
	many := func(n int, change func(i int, o *order)) []order {
		orders := make([]order, n)
		for i := range orders {
			orders[i].req = job.Request{URL: fmt.Sprintf("https://h/%d", i)}
			change(i, &orders[i])
		}
		return orders
	}
	plain := func(int, *order) {}
	long := strings.Repeat("x", 100<<10)
	for name, c := range map[string]struct {
		orders []order
		out    outputFlags
		units  int
	}{
		"few":                   {many(7, plain), outputFlags{}, 7},
		"enough":                {many(8, plain), outputFlags{}, 1},
		"about the limit":       {many(2001, plain), outputFlags{}, 2},
		"off":                   {many(8, plain), outputFlags{noBundle: true}, 8},
		"only if newer":         {many(8, plain), outputFlags{newer: true}, 8},
		"only if not there":     {many(8, plain), outputFlags{noClobber: true}, 8},
		"to be taken over":      {many(8, plain), outputFlags{adopt: true}, 8},
		"some to a pipe":        {many(10, func(i int, o *order) { o.output = []string{"", "-"}[i/8] }), outputFlags{}, 3},
		"headers of their own":  {many(20, func(i int, o *order) { o.req.Header = []job.Field{{Name: "X", Value: strconv.Itoa(i / 9)}} }), outputFlags{}, 4},
		"logins of their own":   {many(16, func(i int, o *order) { o.req.Username = strconv.Itoa(i / 8) }), outputFlags{}, 2},
		"long URLs":             {many(20, func(_ int, o *order) { o.req.URL += long }), outputFlags{}, 20},
		"one that is too long":  {many(9, func(i int, o *order) { o.req.URL += strings.Repeat(long, 3*(i/8)) }), outputFlags{}, 2},
		"jobs that stand there": {many(9, func(_ int, o *order) { o.job = job.NewID() }), outputFlags{}, 9},
	} {
		t.Run(name, func(t *testing.T) { checkUnits(t, c.orders, (&downloads{out: c.out}).units(c.orders), c.units) })
	}
}
