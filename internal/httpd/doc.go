// Package httpd speaks HTTP for the relay: the local API that people reach over
// ssh ([Local]) and the public door ([Public]).
//
// The local API trusts the socket for who is asking: peer credentials on the
// Unix socket, the owner of the peer's socket on the TCP port, the key on the
// relay's own ssh endpoint. The public door trusts nothing but a job's token
// together with an allowed address, and gives everybody else one and the same
// 404, byte for byte.
package httpd
