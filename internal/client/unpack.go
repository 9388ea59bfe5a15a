package client

import (
	"context"
	"errors"

	"github.com/jumpget/jumpget/internal/job"
)

// errMoved says that the bundle is another object by now.
var errMoved = errors.New("the bundle's object has changed")

// startUnpack takes the object apart as it comes.
func (d *download) startUnpack(ctx context.Context) {
	p := &pump{done: make(chan struct{})}
	d.pump = p
	d.wg.Go(func() {
		for {
			id, err := d.object.wait(ctx, func(id job.ID) bool { return id != "" })
			if err == nil {
				err = d.req.unpack.Read(ctx, &verified{ctx: ctx, d: d, object: id})
			}
			switch {
			case errors.Is(err, errMoved):
				continue
			case err != nil:
				d.fail(err)
				return
			}
			close(p.done)
			return
		}
	})
}

// verified reads the bytes of one object, in order, as they are verified.
type verified struct {
	ctx    context.Context
	d      *download
	object job.ID
	off    int64
}

func (v *verified) Read(p []byte) (int, error) {
	n, err := v.d.file.ReadVerified(v.ctx, p, v.off)
	if now, _, _ := v.d.object.get(); now != v.object {
		return 0, errMoved // the bytes may be either's
	}
	v.off += int64(n)
	return n, err
}
