// Package progress tells a person, or a program, how a download goes. The
// client's engine reports events to a [Reporter]; a renderer shows them:
//
//   - on a terminal, [New] keeps a stack of downloads, two lines each: the leg
//     from the relay to here, and below it the leg from the origin to the relay
//     and the paths in use;
//   - elsewhere it writes plain lines, for pipes, logs and dumb terminals;
//   - [NewJSON] writes one object a line, as docs/json.md tells.
//
// Rates and times left come from a [Meter]. Everything that came from outside
// (names, URLs, errors) goes through [Printable] before it is written, so no
// server can send escape sequences to a terminal.
package progress
