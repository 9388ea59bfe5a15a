package origin

import "github.com/jumpget/jumpget/internal/job"

// version is one version of the file, as its first answer described it.
type version struct {
	meta Meta
	// join tells that answers can be proven to belong together: a strong ETag,
	// or no ETag at all but a Last-Modified that is old enough and a length.
	join bool
}

func newVersion(a *answer) version {
	byTag := a.meta.Validators().Strong() != ""
	byDate := a.meta.ETag == "" && a.dated && a.meta.Size != job.UnknownSize
	return version{meta: a.meta, join: byTag || byDate}
}

// match is how an answer compares with a version.
type match int

const (
	same     match = iota // proven to be the same version
	changed               // proven to be another one
	unproven              // its validators are missing
)

// match compares by ETag where the version has one, else by Last-Modified
// and length. A length that differs is always a change.
func (v version) match(m Meta) match {
	known := m.Size != job.UnknownSize
	switch {
	case known && v.meta.Size != job.UnknownSize && m.Size != v.meta.Size:
		return changed
	case v.meta.Validators().Strong() != "":
		return compare(v.meta.ETag, m.ETag)
	case !v.join || !known:
		return unproven
	case m.ETag != "":
		return changed // it had none before
	}
	return compare(v.meta.LastModified, m.LastModified)
}

func compare(want, got string) match {
	switch got {
	case want:
		return same
	case "":
		return unproven
	}
	return changed
}
