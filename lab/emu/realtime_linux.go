package emu

import (
	"os"
	"runtime/debug"
	"strconv"
	"syscall"
	"unsafe"

	"golang.org/x/sys/unix"
)

// Real-time priorities: a pump comes before whatever else this process does, and
// all of it before the programs measured, as a network would.
const (
	threadPriority = 10
	pumpPriority   = 20
)

// dedicate gives the whole process over to the emulation.
//
// Every thread gets precedence, not only those of the pumps: when Go's scheduler
// interrupts a goroutine that is locked to a thread, another thread has to
// hand it back, and one that waits for a processor behind the programs measured
// would hold the pump up for tens of milliseconds. Threads started later inherit it.
func dedicate() {
	// Nothing is allocated while packets flow, so a collection would only stop the
	// pumps. What answers leave behind is little.
	debug.SetGCPercent(-1)
	debug.SetMemoryLimit(4 << 30)
	for seen := 0; ; {
		threads, err := os.ReadDir("/proc/self/task")
		if err != nil || len(threads) == seen {
			return // the next thread comes from one of these
		}
		seen = len(threads)
		for _, t := range threads {
			if id, err := strconv.Atoi(t.Name()); err == nil {
				realtime(id, threadPriority)
			}
		}
	}
}

// realtime puts a thread (0: the caller's) under SCHED_FIFO. Without the right
// to it does without.
func realtime(thread int, priority int32) {
	const schedFIFO = 1
	_, _, _ = syscall.RawSyscall(unix.SYS_SCHED_SETSCHEDULER, uintptr(thread), schedFIFO, uintptr(unsafe.Pointer(&priority)))
}
