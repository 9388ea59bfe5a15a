package origin

import (
	"context"
	"net/http"

	"github.com/jumpget/jumpget/internal/job"
)

// Revalidate asks the origin whether obj still is what the request names.
// False without an error means that it has changed or that nothing can prove
// that it has not. It sends a conditional GET, since many origins refuse HEAD
// and signed URLs hold for one method; an answer with a body is closed at once.
func (f *Fetcher) Revalidate(ctx context.Context, req *job.Request, obj *job.Object) (unchanged bool, err error) {
	if obj.ETag == "" && obj.LastModified == "" {
		return false, nil
	}
	targets, err := f.targets(req)
	if err != nil {
		return false, err
	}
	r := &run{f: f, target: targets[0]}
	tries := r.retrier()
	for {
		unchanged, err := r.revalidate(ctx, obj)
		if err == nil {
			return unchanged, nil
		}
		if err := tries.next(ctx, err, 0); err != nil {
			return false, final(ctx, err)
		}
	}
}

func (r *run) revalidate(ctx context.Context, obj *job.Object) (bool, error) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	req, err := r.target.request(ctx, r.f.cfg.UserAgent)
	if err != nil {
		return false, r.failureOf(err)
	}
	if obj.ETag != "" {
		req.Header.Set("If-None-Match", obj.ETag)
	}
	if obj.LastModified != "" {
		req.Header.Set("If-Modified-Since", obj.LastModified)
	}
	resp, err := r.target.client.Do(req)
	if err != nil {
		return false, r.failureOf(err)
	}
	defer func() { _ = resp.Body.Close() }() // the body is not wanted
	switch resp.StatusCode {
	case http.StatusNotModified:
		return true, nil
	case http.StatusOK:
		return unchanged(obj, metaOf(resp, r.target.url, sizeOf(resp))), nil
	}
	return false, statusFailure(resp, r.f.cfg.Now())
}

func sizeOf(resp *http.Response) int64 {
	if resp.ContentLength < 0 {
		return job.UnknownSize
	}
	return resp.ContentLength
}

// unchanged compares the headers of an origin that ignores conditions.
func unchanged(obj *job.Object, m Meta) bool {
	switch {
	case m.Size != job.UnknownSize && m.Size != obj.Size:
		return false
	case obj.ETag != "":
		return m.ETag == obj.ETag
	}
	return m.ETag == "" && m.LastModified == obj.LastModified && m.Size == obj.Size
}
