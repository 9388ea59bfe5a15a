// Package relay is the life of a job on the relay: it takes requests, lets one
// fetch serve everybody who asks for the same bytes, hashes them as they
// arrive, tells what happens, hands bodies out while they grow, keeps them for
// the retention time and cleans up after itself. It speaks no HTTP; package
// httpd does.
//
// # The flow
//
//  1. [Relay.Submit] records a job and gives a ticket. If an object with the
//     same key is being fetched, the job joins it; if one is complete, it is
//     revalidated with the origin and reused; else a fetch is queued.
//  2. A fetch writes the object's growing file. Right behind it one goroutine
//     hashes every chunk as it becomes whole and, in order, the whole.
//  3. [Relay.Watch] tells status and sums; [Relay.Open] gives the body, which
//     blocks where bytes have not come yet.
//  4. When all is there the body is synced, then the sums, then the database
//     says complete, and only then does anybody see the state ready.
//  5. The cleaner in [Relay.Run] expires jobs and removes objects that no job
//     keeps. What somebody reads or fetches has a lease and stays.
//
// After a crash, [New] reconciles database and disk: see recover.go.
package relay
