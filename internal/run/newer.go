package run

import (
	"fmt"
	"strings"
)

// NewerError says that a request has a version or fields that this program does not
// know, and that a newer one may.
type NewerError struct{ needs string }

func (e *NewerError) Error() string { return "needs a newer version of etl, " + e.needs }

func newerVersion(version int) *NewerError {
	return &NewerError{fmt.Sprintf("which reads version %d of requests; this one reads %d", version, RequestVersion)}
}

// Newer is why only a newer program may execute the request, nil where this one may.
func (r *Request) Newer() error {
	if r.Version > RequestVersion {
		return newerVersion(r.Version)
	}
	return nil
}

const unknownField = "is not a field of a sync request"

// newer tells of a document that was read, by what is wrong with it, that a newer program
// may read it; nil where none does.
func newer(version int, invalid *InvalidError) *NewerError {
	var unknown []string
	for _, f := range invalid.Fields {
		switch {
		case f.Field == "":
			return nil // it is no document
		case f.Message == unknownField:
			unknown = append(unknown, f.Field)
		case version <= RequestVersion:
			return nil
		}
	}
	switch {
	case version > RequestVersion:
		return newerVersion(version)
	case len(unknown) == 0 || len(unknown) == maxProblems: // at which the reading ended
		return nil
	}
	return &NewerError{"which knows the field " + strings.Join(unknown, ", ") +
		"; where that is misspelt, cancel the run and ask again"}
}

// plain is what any program can tell of a request that it cannot read: who asked, when,
// whether it is one that was asked for before.
func (r *Request) plain() Request {
	p := Request{Version: RequestVersion, ID: r.ID, By: r.By, At: r.At, Expires: r.Expires, Key: r.Key, Pipeline: r.Pipeline, Recorded: r.Recorded}
	if p.Check() != nil {
		p = Request{Version: RequestVersion}
		_ = p.Check() // which fills in the defaults
	}
	p.Version = r.Version
	return p
}
