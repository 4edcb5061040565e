package words

import (
	"time"

	"github.com/ecom-micro/etl/internal/product"
	"github.com/ecom-micro/etl/internal/run"
)

// OutcomeDocument is what became of one product, for programs and for people.
type OutcomeDocument struct {
	run.Key
	Title    string    `json:"title,omitempty"`
	State    run.State `json:"state"`
	Attempts int       `json:"attempts,omitempty"`
	Column   string    `json:"column,omitempty"`
	Code     run.Code  `json:"code,omitempty"`
	Reason   string    `json:"reason,omitempty"`
	// Fields are what differs.
	Fields []run.FieldChange `json:"fields,omitempty"`
	Remedy string            `json:"remedy,omitempty"`
}

// Outcome puts words to an outcome.
func (t Terms) Outcome(o run.Outcome) OutcomeDocument {
	return OutcomeDocument{Key: o.Key, Title: o.Title, State: o.State, Attempts: o.Attempts, Column: o.Column, Code: o.Reason.Code,
		Reason: Reason(o, t), Fields: o.Fields, Remedy: Remedy(o, t)}
}

// Outcomes puts words to outcomes; it is never nil.
func (t Terms) Outcomes(outcomes []run.Outcome) []OutcomeDocument {
	all := make([]OutcomeDocument, len(outcomes))
	for i, o := range outcomes {
		all[i] = t.Outcome(o)
	}
	return all
}

// PastDocument is what became of a product in one run.
type PastDocument struct {
	Run string    `json:"run"`
	At  time.Time `json:"at"`
	OutcomeDocument
}

// NoteDocument is a remark on a run.
type NoteDocument struct {
	Code run.NoteCode `json:"code"`
	Text string       `json:"text"`
}

// ReportDocument is a report with words.
type ReportDocument struct {
	*run.Report
	Samples []OutcomeDocument `json:"samples"`
	Notes   []NoteDocument    `json:"notes"`
}

// Report puts words to a report, which may be nil.
func (t Terms) Report(r *run.Report) *ReportDocument {
	if r == nil {
		return nil
	}
	d := &ReportDocument{Report: r, Samples: t.Outcomes(r.Samples), Notes: make([]NoteDocument, len(r.Notes))}
	for i, n := range r.Notes {
		d.Notes[i] = NoteDocument{n.Code, Note(n, t)}
	}
	return d
}

// ProgressDocument is a run's progress with words.
type ProgressDocument struct {
	*run.Progress
	Waits []WaitDocument `json:"waits,omitempty"`
}

// WaitDocument is a run.Wait with words.
type WaitDocument struct {
	Phase    run.Phase    `json:"phase"`
	Kind     product.Kind `json:"kind,omitempty"`
	Products int          `json:"products"`
	Code     run.Code     `json:"code"`
	Text     string       `json:"text"`
	Since    time.Time    `json:"since,omitzero"`
	Until    time.Time    `json:"until,omitzero"`
}

// Progress puts words to a progress, which may be nil.
func (t Terms) Progress(p *run.Progress) *ProgressDocument {
	if p == nil {
		return nil
	}
	d := &ProgressDocument{Progress: p}
	for _, w := range p.Waits {
		d.Waits = append(d.Waits, WaitDocument{w.Phase, w.Kind, w.Products, w.Reason.Code, Wait(w, t), w.Reason.Since, w.Reason.Until})
	}
	return d
}

// ExplanationDocument is all that can be said of one product, in words.
type ExplanationDocument struct {
	ID      product.ID  `json:"id"`
	Verdict run.Verdict `json:"verdict"`
	Why     string      `json:"why"`
	Next    string      `json:"nextStep,omitempty"`
	Column  string      `json:"column,omitempty"`
	Code    run.Code    `json:"code,omitempty"`

	InSource bool                  `json:"inSource"`
	InCart   bool                  `json:"inCart"`
	Created  time.Time             `json:"createdAt,omitzero"` // in the source
	Updated  time.Time             `json:"updatedAt,omitzero"`
	Fields   []run.FieldComparison `json:"fields"`
	History  []PastDocument        `json:"history"` // the latest first
}

// Explanation puts words to an explanation.
func (t Terms) Explanation(e *run.Explanation) *ExplanationDocument {
	d := &ExplanationDocument{ID: e.ID, Verdict: e.Verdict, Column: e.Column, Code: e.Reason.Code,
		InSource: e.InSource, InCart: e.InCart, Created: e.Created, Updated: e.Updated,
		Fields: append([]run.FieldComparison{}, e.Fields...), History: make([]PastDocument, len(e.History))}
	d.Why, d.Next = Explain(e, t)
	for i, past := range e.History {
		d.History[i] = PastDocument{past.Run, past.At, t.Outcome(past.Outcome)}
	}
	return d
}
