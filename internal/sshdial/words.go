package sshdial

import (
	"fmt"
	"os/exec"
	"runtime"
	"strings"
	"unicode"
)

// SplitWords splits a command as a shell does that knows blanks, quotes and
// backslashes, and nothing else. On Windows a backslash quotes nothing, because
// paths are full of them.
func SplitWords(s string) ([]string, error) {
	return splitWords(s, runtime.GOOS != "windows")
}

// splitWords splits a command as a shell does that knows blanks, quotes and,
// where backslash is true, backslashes, and nothing else: no variables, no globs.
func splitWords(s string, backslash bool) ([]string, error) {
	var words []string
	var word strings.Builder
	var quote rune
	inWord, escaped := false, false
	for _, r := range s {
		switch {
		case escaped:
			if quote == '"' && !strings.ContainsRune("\"\\$`", r) {
				word.WriteByte('\\')
			}
			word.WriteRune(r)
			escaped = false
		case r == '\\' && backslash && quote != '\'':
			escaped, inWord = true, true
		case quote != 0:
			if r == quote {
				quote = 0
			} else {
				word.WriteRune(r)
			}
		case r == '\'' || r == '"':
			quote, inWord = r, true
		case unicode.IsSpace(r):
			if inWord {
				words = append(words, word.String())
				word.Reset()
			}
			inWord = false
		default:
			word.WriteRune(r)
			inWord = true
		}
	}
	if quote != 0 || escaped {
		return nil, fmt.Errorf("a quote or backslash at its end is not closed")
	}
	if inWord {
		words = append(words, word.String())
	}
	return words, nil
}

// program splits the ssh command and finds its program. A backslash is a part of
// paths on Windows, so it quotes nothing there.
func program(command string) ([]string, error) {
	if command == "" {
		path, err := exec.LookPath("ssh")
		if err != nil {
			return nil, &Error{Kind: NoSSH, Message: "there is no ssh program on this machine", Hint: installHint(runtime.GOOS), Err: err}
		}
		return []string{path}, nil
	}
	words, err := SplitWords(command)
	if err == nil && (len(words) == 0 || words[0] == "") {
		err = fmt.Errorf("it names no program")
	}
	if err == nil {
		words[0], err = exec.LookPath(words[0])
	}
	if err != nil {
		return nil, &Error{
			Kind:    BadCommand,
			Message: "the ssh command can't be used: " + clean(err.Error()),
			Hint:    "write it like: ssh -p 2222 -i key",
			Err:     err,
		}
	}
	return words, nil
}

func installHint(goos string) string {
	switch goos {
	case "linux":
		return "install it: apt install openssh-client (or dnf install openssh-clients), or name another with --ssh"
	case "windows":
		return "install it: Settings, Optional features, OpenSSH Client; or name another with --ssh"
	}
	return "install OpenSSH's client, or name another with --ssh"
}
