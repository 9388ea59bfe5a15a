package job

import (
	"errors"
	"strings"
	"testing"

	"pgregory.net/rapid"
)

func TestParse(t *testing.T) {
	tests := []struct {
		name string
		r    Request
		code Code // "" is no error
	}{
		{"https", Request{URL: "https://h/x?y#z"}, ""},
		{"http with all", Request{URL: "http://u:p@[::1]:8080/x"}, ""},
		{"mirrors", Request{URL: "https://h/", Mirrors: []string{"http://m/"}}, ""},
		{"header", Request{URL: "https://h/", Header: []Field{{"X-A", "b c"}, {"Empty", ""}}}, ""},

		{"file", Request{URL: "file:///etc/passwd"}, CodeBadURL},
		{"ftp", Request{URL: "ftp://h/x"}, CodeBadURL},
		{"no scheme", Request{URL: "h/x"}, CodeBadURL},
		{"no host", Request{URL: "https:///x"}, CodeBadURL},
		{"a port alone", Request{URL: "https://:80/x"}, CodeBadURL},
		{"opaque", Request{URL: "https:h/x"}, CodeBadURL},
		{"control character", Request{URL: "https://h/\n"}, CodeBadURL},
		{"empty", Request{}, CodeBadURL},
		{"bad mirror", Request{URL: "https://h/", Mirrors: []string{"file:///x"}}, CodeBadURL},
		{"header without a name", Request{URL: "https://h/", Header: []Field{{"", "x"}}}, CodeBadRequest},
		{"header with a line break", Request{URL: "https://h/", Header: []Field{{"X", "a\r\nY: b"}}}, CodeBadRequest},
		{"header with a bare LF", Request{URL: "https://h/", Header: []Field{{"X", "a\nb"}}}, CodeBadRequest},
		{"header with NUL", Request{URL: "https://h/", Header: []Field{{"X", "a\x00"}}}, CodeBadRequest},
		{"header name with a colon", Request{URL: "https://h/", Header: []Field{{"X:Y", "a"}}}, CodeBadRequest},
		{"header name with a control character", Request{URL: "https://h/", Header: []Field{{"X\x01", "a"}}}, CodeBadRequest},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			u, err := tt.r.Parse()
			if tt.code == "" {
				if err != nil || u == nil {
					t.Errorf("%v, %v", u, err)
				}
				return
			}
			if !errors.Is(err, &Error{Code: tt.code}) {
				t.Errorf("got %v, want %s", err, tt.code)
			}
			var e *Error
			if errors.As(err, &e) && e.Hint == "" {
				t.Error("the error says nothing of what to do")
			}
		})
	}
}

// What is no URL is told without its password: errors end in logs.
func TestParseErrorsHoldNoPassword(t *testing.T) {
	for _, s := range []string{"https://u:hunter2@/x", "https://u:hunter2@h\n", "://u:hunter2@h", "https:u:hunter2@h", "https://u:hunter2@h:bad"} {
		_, err := (&Request{URL: s}).Parse()
		if err == nil || strings.Contains(err.Error(), "hunter2") {
			t.Errorf("%q: %v", s, err)
		}
	}
}

func TestPrivate(t *testing.T) {
	for name, r := range map[string]Request{
		"header": {URL: "https://h/", Header: []Field{{"Cookie", "x"}}}, "user": {URL: "https://h/", Username: "u"},
		"password": {URL: "https://h/", Password: "p"}, "in the URL": {URL: "https://u@h/"}, "in a mirror": {URL: "https://h/", Mirrors: []string{"https://u:p@m/"}},
		"in a bundle": {Files: []File{{URL: "https://h/"}, {URL: "https://u@h/"}}}, "in a bundle's mirror": {Files: []File{{URL: "https://h/", Mirrors: []string{"https://u:p@m/"}}}},
	} {
		if !r.Private() {
			t.Errorf("%s is not private", name)
		}
	}
	if r := (Request{URL: "https://h/?token=x", Fresh: true, Retain: 1, Mirrors: []string{"https://m/"}}); r.Private() {
		t.Error("a public request is private")
	}
}

func TestKey(t *testing.T) {
	public := Request{URL: "https://h/f"}
	cookie := Request{URL: "https://h/f", Header: []Field{{"Cookie", "a"}}}
	same := func(name string, a, b Request, ownerA, ownerB string, want bool) {
		t.Helper()
		if got := a.Key(ownerA) == b.Key(ownerB); got != want {
			t.Errorf("%s: equal keys: %v", name, got)
		}
	}
	same("a public file is shared", public, Request{URL: "https://h/f", Fresh: true, Retain: 5}, "ann", "bob", true)
	same("another URL", public, Request{URL: "https://h/g"}, "ann", "ann", false)
	same("a private file is one user's", cookie, cookie, "ann", "bob", false)
	same("and that user's again", cookie, cookie, "ann", "ann", true)
	same("private and public", public, cookie, "ann", "ann", false)
	same("another cookie", cookie, Request{URL: "https://h/f", Header: []Field{{"Cookie", "b"}}}, "ann", "ann", false)
	same("names have no case", cookie, Request{URL: "https://h/f", Header: []Field{{"cookie", "a"}}}, "ann", "ann", true)
	same("order of other names", Request{URL: "u", Header: []Field{{"A", "1"}, {"B", "2"}}}, Request{URL: "u", Header: []Field{{"B", "2"}, {"A", "1"}}}, "o", "o", true)
	same("order of one name", Request{URL: "u", Header: []Field{{"A", "1"}, {"A", "2"}}}, Request{URL: "u", Header: []Field{{"A", "2"}, {"A", "1"}}}, "o", "o", false)
	same("a password", Request{URL: "u", Username: "a", Password: "b"}, Request{URL: "u", Username: "a", Password: "c"}, "o", "o", false)
	same("where one ends and the next begins", Request{URL: "u", Username: "a\x00b", Password: "c"}, Request{URL: "u", Username: "a", Password: "b\x00c"}, "o", "o", false)
}

// Else a user could have another user's file brought from a mirror of their own.
func TestAMirrorIsNotPutInAnothersWay(t *testing.T) {
	plain := Request{URL: "https://h/f"}
	poisoned := Request{URL: "https://h/f", Mirrors: []string{"https://evil/f"}}
	if plain.Key("ann") == poisoned.Key("eve") {
		t.Error("a request with a mirror shares the object of one without")
	}
}

func TestKeyIsAHashThatGivesNothingAway(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		r := Request{URL: rapid.String().Draw(t, "url"), Password: rapid.StringN(4, 20, -1).Draw(t, "password")}
		key := r.Key("ann")
		if len(key) != 64 || strings.Trim(key, "0123456789abcdef") != "" {
			t.Fatalf("key %q", key)
		}
	})
}

func TestStripUserAndLogURL(t *testing.T) {
	for in, want := range map[string][2]string{
		"https://u:p@h:8080/x?sig=s#f": {"https://h:8080/x?sig=s#f", "https://h:8080/x?..."},
		"https://h/x":                  {"https://h/x", "https://h/x"},
		"https://h/x?":                 {"https://h/x?", "https://h/x?"},
		"https://h/a%2Fb#%41":          {"https://h/a%2Fb#%41", "https://h/a%2Fb"},
		"https:u:p@h":                  {"(unreadable URL)", "(unreadable URL)"},
		"://u:p@h":                     {"(unreadable URL)", "(unreadable URL)"},
	} {
		if got := [2]string{StripUser(in), LogURL(in)}; got != want {
			t.Errorf("%q gives %q, want %q", in, got, want)
		}
	}
}

func FuzzLogURL(f *testing.F) {
	for _, s := range []string{"https://u:hunter2@h/", "https:u:hunter2@h", "//u:hunter2@h", "http://h/?hunter2", "http://h/#hunter2", "%"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		r := Request{URL: s}
		if u, err := r.Parse(); err == nil {
			if p, ok := u.User.Password(); ok && len(p) > 8 && !strings.Contains(u.Host+u.Path, p) && strings.Contains(LogURL(s), p) {
				t.Errorf("%q gives %q", s, LogURL(s))
			}
			if strings.Contains(LogURL(s), "@") && !strings.Contains(u.Host+u.Path, "@") {
				t.Errorf("%q gives %q", s, LogURL(s))
			}
		}
	})
}

func TestBundles(t *testing.T) {
	r := Request{Files: []File{{URL: "https://u:p@h/a?x=1#y", Mirrors: []string{"https://m/a"}}, {URL: "https://h/b"}, {URL: "https://h/b"}}}.Titled()
	if want := "https://h/a?x=1#and-2-more"; r.URL != want {
		t.Errorf("its title is %s, want %s", r.URL, want)
	}
	if _, err := r.Parse(); err != nil {
		t.Error(err)
	}
	if one := r.One(0); one.URL != "https://u:p@h/a?x=1#y" || len(one.Mirrors) != 1 || len(one.Files) != 0 {
		t.Errorf("one of it: %+v", one)
	}
	for name, files := range map[string][]File{"a bad URL": {{URL: "https://h/"}, {URL: "file:///x"}}, "a bad mirror": {{URL: "https://h/", Mirrors: []string{"x"}}}} {
		bad := Request{Files: files}.Titled()
		if _, err := bad.Parse(); !errors.Is(err, &Error{Code: CodeBadURL}) {
			t.Errorf("%s: %v", name, err)
		}
	}
	if n := FilesOf(r.Key("anna")); n != 3 {
		t.Errorf("the key tells of %d files", n)
	}
	other := r
	other.Files = r.Files[:2]
	single := Request{URL: r.URL}
	for name, key := range map[string]string{"another user": r.Key("bert"), "fewer files": other.Key("anna"), "the title alone": single.Key("anna")} {
		if key == r.Key("anna") {
			t.Errorf("%s has the same key", name)
		}
	}
	for _, key := range []string{single.Key("anna"), "", "bundle:", "bundle:x:y", "bundle:-1:y"} {
		if n := FilesOf(key); n != 0 {
			t.Errorf("%q tells of %d files", key, n)
		}
	}
	if got := single.Titled(); got.URL != single.URL {
		t.Errorf("a single file's title is %s", got.URL)
	}
}
