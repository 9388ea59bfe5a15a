package config

import (
	"errors"
	"path/filepath"
	"runtime"
	"strings"
)

// environment is a process's variables, on the system that it runs on.
type environment struct {
	goos string
	vars map[string]string
}

func newEnvironment(goos string, environ []string) environment {
	if goos == "" {
		goos = runtime.GOOS
	}
	e := environment{goos, map[string]string{}}
	for _, line := range environ {
		if name, value, ok := strings.Cut(line, "="); ok {
			e.vars[e.name(name)] = value
		}
	}
	return e
}

// name is a variable's name as it is compared: Windows ignores case.
func (e environment) name(s string) string {
	if e.goos == "windows" {
		return strings.ToUpper(s)
	}
	return s
}

func (e environment) get(name string) string { return e.vars[e.name(name)] }

// absolute returns a variable that names a directory. Relative ones are ignored
// as the XDG specification asks for.
func (e environment) absolute(name string) string {
	if v := e.get(name); filepath.IsAbs(v) || e.goos == "windows" {
		return v
	}
	return ""
}

// home returns the user's directory, "" if nobody tells.
func (e environment) home() string {
	if e.goos == "windows" {
		return e.get("USERPROFILE")
	}
	return e.get("HOME")
}

// under joins a path below a directory, "" if the directory is not known.
func under(dir string, parts ...string) string {
	if dir == "" {
		return ""
	}
	return filepath.Join(append([]string{dir}, parts...)...)
}

// files returns the config files that are read unless one is named, the weakest first.
func (e environment) files() []string {
	var all []string
	add := func(path string) {
		if path != "" {
			all = append(all, path)
		}
	}
	if e.goos == "windows" {
		add(under(e.get("APPDATA"), "jumpget", "config.yaml"))
	} else {
		add("/etc/jumpget/config.yaml")
		dir := e.absolute("XDG_CONFIG_HOME")
		if dir == "" {
			dir = under(e.home(), ".config")
		}
		add(under(dir, "jumpget", "config.yaml"))
	}
	add(under(e.home(), ".jumpget.yaml"))
	return all
}

// stateDir returns where this user's state is kept, "" if nobody tells.
func (e environment) stateDir() string {
	if e.goos == "windows" {
		return under(e.get("LOCALAPPDATA"), "jumpget")
	}
	if dir := e.absolute("XDG_STATE_HOME"); dir != "" {
		return under(dir, "jumpget")
	}
	return under(e.home(), ".local", "state", "jumpget")
}

// dataDir returns the relay's default directory.
func (e environment) dataDir(root bool) string {
	if root && e.goos != "windows" {
		return "/var/lib/jumpget"
	}
	return under(e.stateDir(), "relay")
}

// systemSocket is where a relay that runs as root listens.
const systemSocket = "/run/jumpget/api.sock"

func (e environment) socket(root bool, dataDir string) string {
	if root && e.goos != "windows" {
		return systemSocket
	}
	return under(dataDir, "api.sock")
}

// expand replaces a ~/ at the start, which only a shell would do.
func (e environment) expand(path string) string {
	if rest, ok := strings.CutPrefix(path, "~/"); ok && e.home() != "" {
		return filepath.Join(e.home(), rest)
	}
	return path
}

// StateDir returns the directory for this user's state: $XDG_STATE_HOME/jumpget,
// ~/.local/state/jumpget (macOS too), or %LocalAppData%\jumpget on Windows.
// environ is as of os.Environ. The directory need not exist yet.
func StateDir(environ []string) (string, error) {
	dir := newEnvironment("", environ).stateDir()
	if dir == "" {
		return "", errors.New("no directory for the program's state is known: set HOME or XDG_STATE_HOME")
	}
	return dir, nil
}
