// Package netns runs code inside another network namespace.
package netns

import (
	"fmt"
	"os"
	"runtime"

	"golang.org/x/sys/unix"
)

// Do runs f in the network namespace at path, such as /run/netns/client.
// Sockets and devices that f opens belong to it for good.
func Do(path string, f func() error) error {
	result := make(chan error, 1)
	go func() {
		// Go ends a thread whose goroutine returns while locked to it, so no
		// other goroutine ever finds itself in the namespace.
		runtime.LockOSThread()
		result <- enter(path, f)
	}()
	return <-result
}

func enter(path string, f func() error) error {
	ns, err := os.Open(path)
	if err != nil {
		return err
	}
	defer func() { _ = ns.Close() }() // it was only read
	if err := unix.Setns(int(ns.Fd()), unix.CLONE_NEWNET); err != nil {
		return fmt.Errorf("can't enter the network namespace %s: %w", path, err)
	}
	return f()
}
