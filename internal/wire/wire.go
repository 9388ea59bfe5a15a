// Package wire is the contract between client and relay: routes, headers, JSON,
// error codes and versions. Both sides import it and nothing else describes it;
// docs/wire.md tells the same for somebody who writes another client.
//
// # The flow
//
// The client opens one ssh connection and speaks HTTP/2 over it to the relay's
// local API.
//
//  1. POST /v1/jobs with a [Submit]. The answer is a stream of JSON lines
//     ([Message]): the [Ticket] first, then events as they happen. So one round
//     trip submits the URL and subscribes to it.
//  2. The ticket names the public door's endpoints, the pin of its certificate
//     and the job's token. The client asks there for ranges of
//     /d/{job}/{name} with the token as bearer. Until that answers, it may read
//     the same bytes over ssh at /v1/jobs/{job}/data.
//  3. The public door answers a good token from an address that has no grant
//     with 404 and the header Jumpget-Address; the client POSTs a [Grant] over
//     ssh and tries again. Any other refusal is a bare 404.
//  4. Events bring the SHA-256 of each chunk as soon as the relay has hashed it,
//     and at last the state ready with the SHA-256 of the whole.
//
// # Versions
//
// [Version] grows with every change that an older peer would misunderstand. A
// relay answers a client whose version it does not speak with the code
// "version". Added fields and routes do not change it; unknown fields are ignored.
package wire

import (
	"net/url"

	"github.com/jumpget/jumpget/internal/job"
)

// Version of the contract, sent by both sides in HeaderVersion.
const Version = 1

// The default ports, those of the original JumpGet.
const (
	DefaultLocalPort  = 4100
	DefaultPublicPort = 3100
)

// Header names of our own.
const (
	HeaderVersion = "Jumpget-Version" // contract version, on every API request and answer
	HeaderAddress = "Jumpget-Address" // the address seen, on a 404 to a good token
)

// Routes of the local API. {job} is a job ID.
const (
	RouteHealth = "GET /healthz"
	RouteStatus = "GET /v1/status"             // answers Status
	RouteSubmit = "POST /v1/jobs"              // Submit; answers a stream of Message, ticket first
	RouteList   = "GET /v1/jobs"               // answers Jobs
	RouteJob    = "GET /v1/jobs/{job}"         // answers Job
	RouteEvents = "GET /v1/jobs/{job}/events"  // answers a stream of Message; ?chunk=N starts the sums at chunk N
	RouteTicket = "POST /v1/jobs/{job}/ticket" // answers a fresh Ticket
	RouteData   = "GET /v1/jobs/{job}/data"    // the body, ranges as on the public door
	RouteExtend = "POST /v1/jobs/{job}/extend" // Extend; answers Job
	RouteRemove = "DELETE /v1/jobs/{job}"
	RouteGrant  = "POST /v1/grants" // Grant; 204
)

// RoutePublic is the public door's only route. The object's ID is its ETag, so
// If-Match keeps a client from splicing two versions of a file.
const RoutePublic = "GET /d/{job}/{name}"

// TokenParam is the query parameter that carries the token in a public link.
const TokenParam = "token"

// PublicPath returns the path of a job at the public door.
func PublicPath(id job.ID, name string) string {
	return "/d/" + string(id) + "/" + url.PathEscape(name)
}

// JobPath returns the API path of a job; what is "", "/events", "/data",
// "/ticket" or "/extend".
func JobPath(id job.ID, what string) string { return "/v1/jobs/" + string(id) + what }

// ETag is an object's ID as a strong entity tag.
func ETag(object job.ID) string { return `"` + string(object) + `"` }

// BridgePreface starts the one line that `jumpget bridge` writes to the local
// API's socket before it becomes a plain pipe: the preface, the client's
// address from $SSH_CONNECTION (or "-"), and a newline.
const BridgePreface = "JUMPGET-BRIDGE 1 "
