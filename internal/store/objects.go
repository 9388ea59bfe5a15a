package store

import (
	"context"
	"database/sql"

	"github.com/jumpget/jumpget/internal/job"
)

const objectColumns = `id, url, key, name, size, etag, last_modified, mod_time, content_type,
	sha256, complete, length_verified, created, used`

func scanObject(rows *sql.Rows) (o job.Object, err error) {
	var modTime, created, used int64
	err = rows.Scan(&o.ID, &o.URL, &o.Key, &o.Name, &o.Size, &o.ETag, &o.LastModified, &modTime, &o.ContentType,
		&o.SHA256, &o.Complete, &o.LengthVerified, &created, &used)
	o.ModTime, o.Created, o.Used = fromMicro(modTime), fromMicro(created), fromMicro(used)
	return o, err
}

// PutObject implements Store.
func (s *SQLite) PutObject(ctx context.Context, o job.Object) error {
	return s.exec(ctx, "store an object", "INSERT INTO objects ("+objectColumns+`)
		VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)
		ON CONFLICT (id) DO UPDATE SET url = excluded.url, key = excluded.key, name = excluded.name,
			size = excluded.size, etag = excluded.etag, last_modified = excluded.last_modified,
			mod_time = excluded.mod_time, content_type = excluded.content_type, sha256 = excluded.sha256,
			complete = excluded.complete, length_verified = excluded.length_verified,
			created = excluded.created, used = max(used, excluded.used)`,
		o.ID, o.URL, o.Key, o.Name, o.Size, o.ETag, o.LastModified, o.ModTime.UnixMicro(), o.ContentType,
		o.SHA256, o.Complete, o.LengthVerified, o.Created.UnixMicro(), o.Used.UnixMicro())
}

// Object implements Store.
func (s *SQLite) Object(ctx context.Context, id job.ID) (job.Object, error) {
	o, err := first(collect(ctx, s.reader, scanObject, "SELECT "+objectColumns+" FROM objects WHERE id = ?", id))
	return o, s.explain("look up an object", err)
}

// Objects implements Store.
func (s *SQLite) Objects(ctx context.Context) ([]job.Object, error) {
	all, err := collect(ctx, s.reader, scanObject, "SELECT "+objectColumns+" FROM objects ORDER BY used, id")
	return all, s.explain("list objects", err)
}

// DeleteObject implements Store.
func (s *SQLite) DeleteObject(ctx context.Context, id job.ID) error {
	return s.execOne(ctx, "delete an object", "DELETE FROM objects WHERE id = ?", id)
}

// Touch implements Store.
func (s *SQLite) Touch(ctx context.Context, id job.ID) error {
	return s.execOne(ctx, "touch an object", "UPDATE objects SET used = ? WHERE id = ?", s.now(), id)
}

// FindReusable implements Store.
func (s *SQLite) FindReusable(ctx context.Context, key string) (job.Object, []job.Job, error) {
	o, jobs, err := s.findReusable(ctx, key)
	return o, jobs, s.explain("look for an object to reuse", err)
}

func (s *SQLite) findReusable(ctx context.Context, key string) (o job.Object, jobs []job.Job, err error) {
	// One transaction, so that the jobs are those of the object at one moment.
	tx, err := s.reader.BeginTx(ctx, &sql.TxOptions{ReadOnly: true})
	if err != nil {
		return o, nil, err
	}
	defer func() { _ = tx.Rollback() }() // nothing was written
	o, err = first(collect(ctx, tx, scanObject,
		"SELECT "+objectColumns+" FROM objects WHERE key = ? ORDER BY created DESC, id DESC LIMIT 1", key))
	if err != nil {
		return o, nil, err
	}
	jobs, err = collect(ctx, tx, scanJob, selectJobs+"WHERE object = ? ORDER BY created, id", o.ID)
	return o, jobs, err
}
