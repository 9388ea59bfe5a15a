// Package sshend is the relay's own SSH endpoint, for containers and machines
// without accounts: "serve --ssh-listen". It knows public keys and nothing else,
// and leads to the relay's local API and nowhere else.
//
// # What it lets through
//
// A client has three ways to the API, and each becomes one net.Conn for
// Config.Serve: a forward to the API's port on a loopback name (what "ssh -W
// 127.0.0.1:4100" opens), a forward to the API's Unix socket, and a session that
// runs exactly "jumpget bridge". Every other forward, listener, command,
// subsystem, agent or X11 request is refused; a shell is told what this is.
//
// # Keys and users
//
// The file of authorized keys has OpenSSH's format. It is read again at each
// login, so a removed line bars its key at once; connections that stand go on.
// Each key is a user of the relay, named by the key's comment, or by its SHA-256
// fingerprint where there is none; several keys with one comment are one user.
// The name given in "ssh name@host" means nothing here.
//
// Of the options of a line from="" is honoured, with addresses and CIDR blocks.
// Options that only take away what nobody has here (restrict, no-pty,
// no-port-forwarding and the like, command="jumpget bridge") are accepted. A line
// with any other option is left out, with a warning in the log: whoever wrote it
// meant a limit that would not hold.
package sshend
