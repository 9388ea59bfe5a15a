package cli

import (
	"context"
	"log/slog"
	"slices"
	"strings"

	"github.com/jumpget/jumpget/internal/progress"
)

// noteHandler turns log records into notes, so that what -v shows does not tear
// the progress bar.
type noteHandler struct {
	report progress.Reporter
	attrs  []slog.Attr
}

func (h *noteHandler) Enabled(context.Context, slog.Level) bool { return h.report != nil }

func (h *noteHandler) Handle(_ context.Context, r slog.Record) error {
	var b strings.Builder
	b.WriteString(r.Message)
	add := func(at slog.Attr) bool {
		b.WriteString(" " + at.Key + "=" + at.Value.String())
		return true
	}
	for _, at := range h.attrs {
		add(at)
	}
	r.Attrs(add)
	h.report.Report(progress.Note{Text: b.String(), Level: noteLevel(r.Level)})
	return nil
}

func noteLevel(l slog.Level) progress.Level {
	if l >= slog.LevelWarn {
		return progress.Warning
	}
	return progress.Detail
}

func (h *noteHandler) WithAttrs(attrs []slog.Attr) slog.Handler {
	return &noteHandler{report: h.report, attrs: append(slices.Clone(h.attrs), attrs...)}
}

// WithGroup keeps the names flat: nobody parses these lines.
func (h *noteHandler) WithGroup(string) slog.Handler { return h }
