// Package transport is the public door's wire, both ends of it.
//
// The relay's end: [Listen] opens the port with the socket options of a bulk
// sender, [Sniff] tells TLS from plaintext by the first byte and does the
// handshake aside, and [LoadOrCreateCert] keeps the certificate that clients
// know by its pin.
//
// The client's end: a [Dialer] connects and checks the pin, which ssh brings
// and for which it can wait while the handshake is under way; a [RangeConn]
// then asks for ranges over HTTP/1.1, the next before the last is answered, and
// passes the bytes on as they come. It accepts nothing but exactly what it asked for.
package transport
