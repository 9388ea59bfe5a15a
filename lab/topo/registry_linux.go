package topo

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// A lab holds its prefix as an abstract Unix socket, a name that the kernel
// forgets with the process that holds it. So the list of labs is never wrong,
// and a killed lab leaves no file that says it is still there.
const socketPrefix = "@jumpget-lab/"

// defaultPrefix is what a lab is called that has not been given a prefix, with a
// number from the second one on.
const defaultPrefix = "lab"

var validPrefix = regexp.MustCompile(`^[a-z0-9][a-z0-9_-]{0,31}$`)

// Claim takes a prefix ("" for the first free one) for a process that starts
// several sandboxes under names made of it. The name is free again after release.
func Claim(prefix string) (name string, release func(), err error) {
	name, l, err := claim(prefix)
	if err != nil {
		return "", nil, err
	}
	return name, func() { _ = l.Close() }, nil
}

// claim takes a prefix until the listener is closed.
func claim(prefix string) (name string, l net.Listener, err error) {
	if prefix != "" {
		l, err = claimExactly(prefix)
		return prefix, l, err
	}
	for n := 1; ; n++ {
		name = defaultPrefix
		if n > 1 {
			name += strconv.Itoa(n)
		}
		if l, err = claimExactly(name); err == nil || !errors.Is(err, errTaken) {
			return name, l, err
		}
	}
}

var errTaken = errors.New("taken")

// takenError explains errTaken to a person.
type takenError struct{ lab Lab }

func (e *takenError) Error() string {
	return fmt.Sprintf("a lab %[1]q stands already (process %[2]d): `lab stop %[1]s` ends it if it is left over, --prefix gives this one another name",
		e.lab.Prefix, e.lab.PID)
}

func (e *takenError) Is(target error) bool { return target == errTaken }

func claimExactly(prefix string) (net.Listener, error) {
	if !validPrefix.MatchString(prefix) {
		return nil, fmt.Errorf("%q is no prefix: use up to 32 of a-z, 0-9, - and _", prefix)
	}
	l, err := net.Listen("unix", socketPrefix+prefix)
	if errors.Is(err, unix.EADDRINUSE) {
		lab := Lab{Prefix: prefix}
		lab.PID, _ = holder(prefix) // 0 if it ends at this moment
		return nil, &takenError{lab}
	}
	if err != nil {
		return nil, err
	}
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			_ = c.Close() // who asks wants to know only who we are
		}
	}()
	return l, nil
}

// Lab is a lab that stands on this machine.
type Lab struct {
	Prefix string
	PID    int // of the process outside its sandbox
}

// Running returns the labs that stand on this machine, by prefix. Inside a
// sandbox it sees none.
func Running() ([]Lab, error) {
	b, err := os.ReadFile("/proc/net/unix")
	if err != nil {
		return nil, err
	}
	var labs []Lab
	lines := bufio.NewScanner(bytes.NewReader(b))
	for lines.Scan() {
		_, prefix, ok := strings.Cut(lines.Text(), socketPrefix)
		if !ok {
			continue
		}
		if pid, err := holder(prefix); err == nil {
			labs = append(labs, Lab{prefix, pid})
		}
	}
	slices.SortFunc(labs, func(a, b Lab) int { return strings.Compare(a.Prefix, b.Prefix) })
	return slices.Compact(labs), nil
}

// holder asks the kernel which process holds a prefix.
func holder(prefix string) (pid int, err error) {
	c, err := net.Dial("unix", socketPrefix+prefix)
	if err != nil {
		return 0, err
	}
	defer c.Close()
	raw, err := c.(*net.UnixConn).SyscallConn()
	if err != nil {
		return 0, err
	}
	var cred *unix.Ucred
	var credErr error
	err = raw.Control(func(fd uintptr) {
		cred, credErr = unix.GetsockoptUcred(int(fd), unix.SOL_SOCKET, unix.SO_PEERCRED)
	})
	if err = errors.Join(err, credErr); err != nil {
		return 0, err
	}
	return int(cred.Pid), nil
}

// Find returns the lab under prefix, or the only one there is for "".
func Find(prefix string) (Lab, error) {
	labs, err := Running()
	if err != nil {
		return Lab{}, err
	}
	switch {
	case len(labs) == 0:
		return Lab{}, errors.New("no lab stands on this machine")
	case prefix == "" && len(labs) == 1:
		return labs[0], nil
	}
	names := make([]string, len(labs))
	for i, l := range labs {
		if l.Prefix == prefix {
			return l, nil
		}
		names[i] = l.Prefix
	}
	if prefix == "" {
		return Lab{}, fmt.Errorf("several labs stand, so name one: %s", strings.Join(names, ", "))
	}
	return Lab{}, fmt.Errorf("there is no lab %q; there are %s", prefix, strings.Join(names, ", "))
}

// Stop ends a lab and returns when it is gone.
func (l Lab) Stop() error {
	for _, sig := range []syscall.Signal{unix.SIGTERM, unix.SIGKILL} {
		if err := unix.Kill(l.PID, sig); err != nil && !errors.Is(err, unix.ESRCH) {
			return fmt.Errorf("can't end the lab %s (process %d): %w", l.Prefix, l.PID, err)
		}
		for end := time.Now().Add(grace + time.Second); time.Now().Before(end); time.Sleep(20 * time.Millisecond) {
			if pid, err := holder(l.Prefix); err != nil || pid != l.PID {
				return nil
			}
		}
	}
	return fmt.Errorf("the lab %s (process %d) does not end", l.Prefix, l.PID)
}

// Init returns the process, seen from outside, that is the first of the lab's sandbox.
func (l Lab) Init() (pid int, err error) {
	files, err := filepath.Glob("/proc/[0-9]*/status")
	if err != nil {
		return 0, err
	}
	for _, name := range files {
		status, err := os.ReadFile(name)
		if err != nil {
			continue // it has ended
		}
		parent, self := statusField(status, "PPid"), statusField(status, "NSpid")
		if len(parent) == 1 && parent[0] == strconv.Itoa(l.PID) && len(self) > 1 && self[len(self)-1] == "1" && l.has(filepath.Dir(name)) {
			return strconv.Atoi(filepath.Base(filepath.Dir(name)))
		}
	}
	return 0, fmt.Errorf("the lab %s has no sandbox (yet, or any more)", l.Prefix)
}

// has tells whether the process, a folder of /proc, is in this lab: one process
// outside may have started several.
func (l Lab) has(process string) bool {
	env, err := os.ReadFile(filepath.Join(process, "environ"))
	return err == nil && slices.Contains(strings.Split(string(env), "\x00"), insideEnv+"="+l.Prefix)
}

// statusField returns the words of a field of /proc/PID/status.
func statusField(status []byte, field string) []string {
	for line := range strings.Lines(string(status)) {
		if value, ok := strings.CutPrefix(line, field+":"); ok {
			return strings.Fields(value)
		}
	}
	return nil
}
