// Package internal holds everything JumpGet is made of. JumpGet is a program
// and not a library: nothing here is meant to be imported by others, and
// anything may change. docs/architecture.md shows how the packages fit together;
// the test beside this file holds them to it.
package internal
