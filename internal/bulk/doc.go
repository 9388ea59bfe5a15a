// Package bulk moves ranges of one file from a relay to a client over UDP, and
// carries the streams on which a client with a session speaks to its relay. The
// protocol is written down in docs/bulk.md, section by section; comments here
// name its sections instead of saying it again.
//
// A [Server] serves any number of clients over one socket, a [Conn] or a [Stream]
// is one client's end. None knows of sockets, jobs or disks: packets go through a
// [PacketConn], keys and bodies come from a [Jobs], keys of streams from a
// [Sessions], and what arrives goes to a [Sink] or is read.
//
// What all connections have in common is the caller at the client and the peer at
// the relay; what they carry stands behind two interfaces, errand and freight. All time is read with package time, so that in a bubble of
// testing/synctest the whole of it runs in virtual time.
//
// On the relay each connection is one goroutine, which seals, paces and reads
// the body; one more reads the socket. On the client one goroutine reads the
// socket, opens packets and acknowledges, and another hands bytes to the sink.
// In steady state nothing is allocated for a packet.
package bulk
