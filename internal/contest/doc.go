// Package contest decides which of UDP and TCP carry a file, by what each has shown
// so far. It does no I/O and has no clock: whoever uses it says what time it is and
// what has come.
package contest
