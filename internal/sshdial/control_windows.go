package sshdial

import "os"

// Windows' ssh has no control sockets.
const canShare = false

func controlDir(string) string { return "" }

func terminate(p *os.Process) error { return p.Kill() }
