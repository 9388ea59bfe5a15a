package cli

import (
	"github.com/jumpget/jumpget/internal/client"
)

// request turns an order into what the client takes.
func (d *downloads) request(n int, o order) client.Request {
	return client.Request{Request: o.req, Job: o.job, Stdout: o.toStdout(d.app.proc.Out)}
}
