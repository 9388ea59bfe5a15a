// Package peer is the table of programs that JumpGet is measured against, and of
// JumpGet's own ways. To add a peer is to add an entry to All.
package peer

import (
	"fmt"
	"os/exec"
	"strings"

	"github.com/jumpget/jumpget/lab/table"
)

// Server is something that a peer needs to run on the relay or the origin.
type Server string

// The servers that the lab can start. Both hosts always run nginx.
const (
	SSHD     Server = "sshd"
	Hysteria Server = "hysteria"
	JumpGet  Server = "jumpget"
)

// Peer is one way to download a file.
type Peer struct {
	Name  string
	About string
	// Needs are commands that have to be on the PATH.
	Needs []string
	// Servers run on the relay beside nginx.
	Servers []Server
	// Before is a shell line run on the client before the clock starts; it sets
	// the peer's state (warm or cold). After is one for when the clock has stopped.
	Before, After string
	// Command is a shell line, run on the client in an empty folder, that has to
	// leave the file there as "out". The variables of Vars stand in braces.
	Command string
	// Many is a shell line that fetches a list of files into the folder "out", or
	// "" for a peer that can't.
	Many string
	// Afresh means that the relay is started anew after Before, so that it does not
	// remember the path from an earlier run.
	Afresh bool
	// NoFile means that Command brings nothing, and only its time counts.
	NoFile bool
}

// List is how the URLs of a list of files are made of their names.
type List struct{ Before, After string }

// Lists are the lists of URLs that Many may name, by variable: of the same files,
// from several places.
var Lists = map[string]List{
	"originlist": {Before: "{origindir}"},
	"relaylist":  {Before: "{relaydir}"},
	"freshlist":  {Before: "{origindir}", After: "?{run}"},
	"tunnellist": {Before: fmt.Sprintf("http://127.0.0.1:%d", HysteriaPort)},
	"brutallist": {Before: fmt.Sprintf("http://127.0.0.1:%d", BrutalPort)},
}

// Vars are what a peer's lines may name: {origin} and {relay} are the URL of the
// file on nginx there, {relaydir} and {name} the latter's two parts, {fresh} is a
// URL of it at the origin that nobody has asked for yet, {ssh} is the ssh command
// and {sshw} a script of it, {dest} ssh's destination, {path} the file's path on
// the relay, {jumpget} the program. Of a list of files {many} is the folder on the
// relay, and Lists names files of their URLs. {origindir} and {run} are what Lists are made of.
// {tiny} is the URL of a few bytes, {learn} that of 10 MB to learn the path from.
type Vars map[string]string

// Expand fills the variables in.
func (v Vars) Expand(line string) string {
	pairs := make([]string, 0, 2*len(v))
	for key, value := range v {
		pairs = append(pairs, "{"+key+"}", value)
	}
	return strings.NewReplacer(pairs...).Replace(line)
}

const (
	aria2   = "aria2c -q -x16 -s16 -k1M --file-allocation=none -o out "
	lftp    = "lftp -e 'set net:timeout 300; set xfer:log no; pget -n 16 -c {relay} -o out; exit'"
	rclone  = "rclone copyto --config /dev/null --multi-thread-streams 16 --multi-thread-cutoff 1M --http-url {relaydir} :http:{name} out"
	tunnel  = "curl -sSf -o %s http://127.0.0.1:%d/%s"
	connect = "{jumpget} ls --no-session >/dev/null"
	// A download brings a session if there is none.
	session = `[ -n "$({jumpget} sessions 2>/dev/null)" ] || ` + get + "-o ../before {tiny} && rm -f ../before && {jumpget} sessions | grep -q ."
	learn   = get + "-o ../before {learn} && rm ../before && {jumpget} sessions | grep -q ."
	forget  = "for s in $XDG_STATE_HOME/jumpget/ssh/*; do {ssh} -O exit -o ControlPath=$s {dest}; done 2>/dev/null; rm -rf $XDG_STATE_HOME/jumpget"
	get     = "{jumpget} --progress none --no-remote-time "
	// The relay's copies are removed, or its memory would fill in a long run.
	remove = `{jumpget} ls | awk 'NR > 1 { print $1 }' | xargs -r {jumpget} rm -q`

	// Lists of files.
	wgetMany = "wget -q -P out -i "
	curlMany = "mkdir out && cd out && xargs -n 1000 curl -sSf -Z --parallel-max 16 --remote-name-all < "
	ariaMany = "aria2c -q -j16 --file-allocation=none -d out -i "
)

// Ports of the hysteria clients on the client's loopback; each leads to the origin's nginx.
const (
	HysteriaPort = 8081 // finds the rate by itself
	BrutalPort   = 8082 // is told the link's true rate
)

// All returns every peer in the order of the report. JumpGet's paths stand there
// one by one; a new path is a new line.
func All() []Peer {
	return []Peer{
		{Name: "wget", About: "from the origin (CUBIC)", Needs: []string{"wget"}, Command: "wget -q -O out {origin}", Many: wgetMany + "{originlist}"},
		{Name: "curl", About: "from the origin (CUBIC)", Needs: []string{"curl"}, Command: "curl -sSf -o out {origin}", Many: curlMany + "{originlist}"},
		{Name: "axel", About: "16 connections from the origin (CUBIC)", Needs: []string{"axel"}, Command: "axel -q -n 16 -o out {origin}"},
		{Name: "aria2", About: "16 connections from the origin (CUBIC)", Needs: []string{"aria2c"}, Command: aria2 + "{origin}", Many: ariaMany + "{originlist}"},
		{Name: "wget2", About: "16 ranges at once from the origin (CUBIC)", Needs: []string{"wget2"}, Command: "wget2 -q --max-threads=16 --chunk-size=1M -O out {origin}"},
		{Name: "wget-bbr", About: "from the relay (BBR)", Needs: []string{"wget"}, Command: "wget -q -O out {relay}", Many: wgetMany + "{relaylist}"},
		{Name: "axel-bbr", About: "16 connections from the relay (BBR)", Needs: []string{"axel"}, Command: "axel -q -n 16 -o out {relay}"},
		{Name: "aria2-bbr", About: "16 connections from the relay (BBR)", Needs: []string{"aria2c"}, Command: aria2 + "{relay}", Many: ariaMany + "{relaylist}"},
		{Name: "lftp-bbr", About: "pget, 16 connections from the relay (BBR)", Needs: []string{"lftp"}, Command: lftp},
		{Name: "rclone-bbr", About: "16 streams from the relay (BBR)", Needs: []string{"rclone"}, Command: rclone},
		overSSH("scp-bbr", "scp", "scp -q -S {sshw} {dest}:{path} out", "scp -q -r -S {sshw} {dest}:{many} out"),
		overSSH("rsync-bbr", "rsync", "rsync --inplace -e {sshw} {dest}:{path} out", "rsync -r --inplace -e {sshw} {dest}:{many}/ out"),
		hysteria("hysteria2", "its own BBR, connected already", HysteriaPort, "{tunnellist}"),
		hysteria("hysteria2-brutal", "told the link's true rate by hand, connected already", BrutalPort, "{brutallist}"),
		{
			Name: "ssh-true", About: "`ssh relay true`, no connection yet: what a cold start waits for", Needs: []string{"ssh", "sshd"},
			Servers: []Server{SSHD}, Command: "{ssh} {dest} true", NoFile: true,
		},
		jumpget("jumpget-cold", "the first run ever: no ssh connection yet, nothing known of the relay", forget, ""),
		jumpget("jumpget", "no session, control connection alive", connect, "--no-session "),
		jumpget("jumpget-session", "session alive", session, ""),
		jumpget("jumpget-memory", "session alive, and the relay remembers the path from a download of 10 MB just before", learn, ""),
		jumpget("jumpget-udp", "the UDP path alone, control connection alive", connect, "--no-session --path udp "),
		jumpget("jumpget-tcp", "the TCP path alone, control connection alive", connect, "--no-session --path tcp "),
		jumpget("jumpget-ssh", "the ssh path alone, control connection alive", connect, "--no-session --path ssh "),
	}
}

func overSSH(name, command, line, many string) Peer {
	return Peer{
		Name: name, About: "over ssh from the relay (BBR)", Needs: []string{command, "ssh", "sshd"}, Servers: []Server{SSHD},
		Command: line, Many: many,
	}
}

func hysteria(name, about string, port int, list string) Peer {
	return Peer{
		Name: name, About: about, Needs: []string{"hysteria", "curl", "openssl"}, Servers: []Server{Hysteria},
		Before: fmt.Sprintf(tunnel, "/dev/null", port, "tiny"), Command: fmt.Sprintf(tunnel, "out", port, "{name}"),
		Many: curlMany + list,
	}
}

func jumpget(name, about, before, flags string) Peer {
	return Peer{
		Name: name, About: about, Needs: []string{"ssh", "sshd"}, Servers: []Server{SSHD, JumpGet},
		Afresh: before != learn, Before: before, Command: get + flags + "-o out {fresh}", After: remove,
		Many: get + flags + "-d out -i {freshlist}",
	}
}

// Find returns the named peers; "all" or no names stand for every one.
func Find(names ...string) ([]Peer, error) {
	if len(names) == 0 {
		return All(), nil
	}
	return table.Find("peer", All(), func(p Peer) string { return p.Name }, names...)
}

// Missing returns the commands that the peer needs and this machine lacks.
func (p Peer) Missing() []string {
	var missing []string
	for _, command := range p.Needs {
		if _, err := exec.LookPath(command); err != nil {
			missing = append(missing, command)
		}
	}
	return missing
}
