package run

// Attention is what of a run that has ended waits for a person. It ends when the findings
// are applied, and when a later look at the whole catalogue speaks for all.
type Attention string

// The kinds of attention; of several the first that holds is shown.
const (
	NoAttention  Attention = "none"
	ToApply      Attention = "apply"   // it has only found: a dry run, or one that stopped at its findings
	LostProducts Attention = "lost"    // repairs were accepted, and nothing arrived
	ToUnblock    Attention = "blocked" // the cart cannot hold some products, or must keep them
)

// Attentions lists all of them.
func Attentions() []Attention { return []Attention{NoAttention, ToApply, LostProducts, ToUnblock} }

// AttentionOf is what a run that ends with this status and report asks for.
func AttentionOf(r *Record, status Status, report *Report) Attention {
	ended := *r
	ended.Status, ended.Report = status, report
	switch {
	case report == nil:
		return NoAttention
	case ended.Applicable() == Applicable && report.Outcomes[Found]+report.Outcomes[Skipped] > 0:
		return ToApply
	case report.Outcomes[Lost] > 0:
		return LostProducts
	case report.Outcomes[Blocked] > 0:
		return ToUnblock
	}
	return NoAttention
}

// Speaks tells whether the run's end speaks for all runs before it: it has looked at the
// whole catalogue to the end.
func (r *Record) Speaks(status Status) bool {
	return r.Whole() && (status == StatusSucceeded || status == StatusPartial)
}
