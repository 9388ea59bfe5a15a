package cli

import (
	"context"
	"errors"
	"io"
	"io/fs"
	"net"
	"os"
	"strings"
	"syscall"

	"github.com/jumpget/jumpget/internal/job"
	"github.com/jumpget/jumpget/internal/partial"
	"github.com/jumpget/jumpget/internal/sshdial"
	"github.com/jumpget/jumpget/internal/transport"
)

// The exit codes, wget's numbers where wget has one.
const (
	exitOK         = 0
	exitOther      = 1
	exitUsage      = 2   // usage or configuration
	exitFile       = 3   // local file or disk
	exitNetwork    = 4   // network, timeout
	exitTLS        = 5   // certificate or pin
	exitLogin      = 6   // the origin asks for a login
	exitProtocol   = 7   // somebody broke HTTP's rules
	exitOrigin     = 8   // the origin's HTTP error
	exitChecksum   = 9   // not the file that was wanted
	exitRelay      = 10  // ssh, token or address refused, no relay there
	exitExists     = 11  // the file is there already
	exitIncomplete = 12  // the same command goes on
	exitRelayFull  = 13  // the relay's quota or disk
	exitInterrupt  = 130 // SIGINT
	exitTerminated = 143 // SIGTERM
)

// exitHelp is what --help and the manual say of them.
var exitHelp = []struct {
	code int
	text string
}{
	{exitOK, "ok"},
	{exitOther, "anything else"},
	{exitUsage, "usage or configuration"},
	{exitFile, "local file or disk"},
	{exitNetwork, "network, timeout"},
	{exitTLS, "TLS, or a certificate that is not the relay's"},
	{exitLogin, "the origin asks for a login"},
	{exitProtocol, "the origin or a proxy broke the protocol"},
	{exitOrigin, "the origin's HTTP error"},
	{exitChecksum, "checksum"},
	{exitRelay, "the relay: ssh, token or address refused, or no relay there"},
	{exitExists, "the file exists"},
	{exitIncomplete, "incomplete; the same command goes on"},
	{exitRelayFull, "the relay's quota or disk"},
	{exitInterrupt, "interrupted"},
	{exitTerminated, "terminated"},
}

// jobExit, sshExit and fileExit are the one table of what an error's kind
// means for the exit code. A kind that is missing is exitOther; a test holds
// that none is.
var (
	jobExit = map[job.Code]int{
		job.CodeBadRequest:   exitUsage,
		job.CodeBadURL:       exitUsage,
		job.CodeOriginDenied: exitRelay,
		job.CodeOriginLogin:  exitLogin,
		job.CodeOriginStatus: exitOrigin,
		job.CodeOriginNet:    exitNetwork,
		job.CodeOriginTLS:    exitTLS,
		job.CodeOriginProto:  exitProtocol,
		job.CodeTooLarge:     exitRelayFull,
		job.CodeQuota:        exitRelayFull,
		job.CodeDisk:         exitRelayFull,
		job.CodeNotFound:     exitRelay,
		job.CodeExpired:      exitRelay,
		job.CodeRemoved:      exitRelay,
		job.CodeForbidden:    exitRelay,
		job.CodeAddress:      exitRelay,
		job.CodeUnavailable:  exitRelay,
		job.CodeVersion:      exitRelay,
		job.CodeInternal:     exitRelay,
	}
	sshExit = map[sshdial.Kind]int{
		sshdial.NoSSH:          exitRelay,
		sshdial.BadCommand:     exitUsage,
		sshdial.HostKeyChanged: exitRelay,
		sshdial.HostKeyUnknown: exitRelay,
		sshdial.AuthRefused:    exitRelay,
		sshdial.Unreachable:    exitNetwork,
		sshdial.ForwardRefused: exitRelay,
		sshdial.NoRelay:        exitRelay,
		sshdial.Cut:            exitNetwork,
		sshdial.Died:           exitNetwork,
	}
	fileExit = map[partial.Kind]int{
		partial.KindExists:     exitExists,
		partial.KindInUse:      exitFile,
		partial.KindOtherURL:   exitFile,
		partial.KindDir:        exitFile,
		partial.KindDiskFull:   exitFile,
		partial.KindIO:         exitFile,
		partial.KindChecksum:   exitChecksum,
		partial.KindCorrupt:    exitChecksum,
		partial.KindRename:     exitFile,
		partial.KindIncomplete: exitIncomplete,
		partial.KindUsage:      exitUsage,
		partial.KindClosed:     exitOther,
	}
)

// failure is an error as a person and a script see it.
type failure struct {
	Exit    int
	Code    string // for --json: a job.Code or one of our own
	Message string
	Hint    string
}

const goOn = "the same command goes on where this one stopped"

// classify finds the exit code and the words for an error. What a signal
// caused is the signal's, whatever it broke on the way.
func classify(ctx context.Context, err error) failure {
	var sig signalError
	if errors.As(context.Cause(ctx), &sig) || errors.As(err, &sig) {
		return failure{sig.exit(), "interrupted", sig.Error(), goOn}
	}
	if f, ok := ours(err); ok {
		return f
	}
	return foreign(err)
}

// ours knows the errors that this project's packages make.
func ours(err error) (failure, bool) {
	var usage *usageError
	var jobErr *job.Error
	var sshErr *sshdial.Error
	var fileErr *partial.Error
	var execErr *execError
	switch {
	case errors.As(err, &execErr):
		return failure{exitOther, "exec", execErr.Error(), execErr.hint()}, true
	case errors.As(err, &usage):
		return failure{exitUsage, "usage", usage.Error(), usage.hint}, true
	case errors.As(err, &jobErr):
		return failure{known(jobExit, jobErr.Code), string(jobErr.Code), jobErr.Message, jobErr.Hint}, true
	case errors.As(err, &sshErr):
		return failure{known(sshExit, sshErr.Kind), "ssh_" + string(sshErr.Kind), sshErr.Message, sshErr.Hint}, true
	case errors.As(err, &fileErr):
		return failure{known(fileExit, fileErr.Kind), "file_" + string(fileErr.Kind), fileErr.Message, fileErr.Hint}, true
	}
	return doorFailure(err)
}

// doorErrors is the table's part for the relay's public door.
var doorErrors = []struct {
	is   func(error) bool
	exit int
	code string
	hint string
}{
	{has[*transport.PinMismatchError], exitTLS, "pin", "somebody may stand in between; --path ssh does without the public door"},
	{has[*transport.TLSError], exitTLS, "tls", "see `jumpget doctor`; --path ssh does without the public door"},
	{has[*transport.UnreachableError], exitNetwork, "network", "is the relay's public port open in its firewall? see `jumpget doctor`"},
	{has[*transport.StallError], exitNetwork, "network", goOn},
	{has[*transport.NotGrantedError], exitRelay, "address", "grant it: jumpget allow ADDRESS"},
	{has[*transport.RefusedError], exitRelay, "token", "the job may have expired: `jumpget ls` tells"},
	{has[*transport.ChangedError], exitProtocol, "protocol", goOn},
	{has[*transport.BeyondEndError], exitProtocol, "protocol", goOn},
	{has[*transport.RangeError], exitProtocol, "protocol", "does a proxy stand before the relay?"},
	{has[*transport.StatusError], exitProtocol, "protocol", "does a proxy stand before the relay?"},
	{has[*transport.ProtocolError], exitProtocol, "protocol", "does a proxy stand before the relay?"},
}

func has[T error](err error) bool {
	_, ok := errors.AsType[T](err)
	return ok
}

func doorFailure(err error) (failure, bool) {
	for _, e := range doorErrors {
		if e.is(err) {
			return failure{e.exit, e.code, err.Error(), e.hint}, true
		}
	}
	return failure{}, false
}

// foreign knows the errors of the standard library.
func foreign(err error) failure {
	var netErr net.Error
	var pathErr *fs.PathError
	var linkErr *os.LinkError
	switch {
	case errors.Is(err, context.Canceled):
		return failure{exitInterrupt, "interrupted", "interrupted", goOn}
	case errors.Is(err, syscall.EPIPE):
		return failure{exitFile, "file_io", "whoever read standard output has gone", ""}
	case errors.As(err, &pathErr), errors.As(err, &linkErr): // before net.Error, which an errno is too
		return failure{exitFile, "file_io", err.Error(), ""}
	case errors.Is(err, context.DeadlineExceeded), errors.As(err, &netErr), errors.Is(err, io.ErrUnexpectedEOF):
		return failure{exitNetwork, "network", err.Error(), goOn}
	}
	return failure{exitOther, "other", strings.TrimSpace(err.Error()), ""}
}

func known[K comparable](table map[K]int, kind K) int {
	if exit, ok := table[kind]; ok {
		return exit
	}
	return exitOther
}

// combine makes one exit code of several downloads': the lowest that says
// something, that is neither 0 nor 1; else 1 if any failed.
func combine(codes []int) int {
	best := exitOK
	for _, c := range codes {
		switch {
		case c == exitOK:
		case best == exitOK, best == exitOther, c != exitOther && c < best:
			best = c
		}
	}
	return best
}
