// Package e2e holds tests of the whole: the program as processes of its own, a
// real ssh between them, and an origin. It has no code for the program.
package e2e
