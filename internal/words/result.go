package words

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/ecom-micro/etl/internal/product"
	"github.com/ecom-micro/etl/internal/run"
)

// Result is a run that has ended in one sentence. It speaks of the kinds that the run
// was to repair, and says which others it has left alone. It names no product.
func Result(r *run.Report, t Terms) string {
	took := time.Duration(r.Duration) * time.Millisecond
	switch {
	case r.Result == run.InSync:
		return fmt.Sprintf("In sync: %s compared in %s.", Counted(r.Products, "product"), took)
	case r.Result == run.Succeeded && !acted(r):
		return fmt.Sprintf("No %s products. (%s)%s%s", either(repaired(r)), took, leftAlone(r, t), unjudged(r))
	case r.Result == run.Succeeded:
		return fmt.Sprintf("Repaired: %s verified in the cart, in %s by %s.%s%s", share(r), took, r.Mode, leftAlone(r, t), unjudged(r))
	case r.Result == run.Stopped && r.Acted == 0:
		return fmt.Sprintf("Stopped at its findings: %s, nothing was repaired. (%s)", findings(r), took)
	case r.Result == run.Stopped:
		return fmt.Sprintf("Stopped after %s, a person decides first: %s verified so far.", took, share(r))
	case r.Result == run.Cancelled:
		return fmt.Sprintf("Interrupted after %s: %s verified so far.", took, share(r))
	case r.Result == run.Broken:
		return fmt.Sprintf("Failed after %s: %s verified so far.", took, share(r))
	case r.Products == 0 && r.Rows == 0 && nowhere(r):
		return fmt.Sprintf("Nothing to compare: the named products are in neither store. (%s)", took)
	case r.DryRun:
		return fmt.Sprintf("Differences found: %s. (%s, nothing was changed)", findings(r), took)
	case r.Unrepaired == 0: // what remains cannot be compared, or is not there
		return fmt.Sprintf("No %s products any more among the %s that could be compared. (%s)%s", either(repaired(r)), Number(r.Products), took, leftAlone(r, t))
	}
	return fmt.Sprintf("Differences remain: %s verified in the cart, %s not, in %s by %s.%s", share(r), Number(r.Unrepaired), took, r.Mode, leftAlone(r, t))
}

// nowhere tells whether named products are in neither store.
func nowhere(r *run.Report) bool {
	return slices.ContainsFunc(r.Notes, func(n run.Note) bool { return n.Code == run.NoteUnknownIDs })
}

// repaired are the kinds that a run was to repair.
func repaired(r *run.Report) run.Kinds {
	if len(r.Repair) == 0 {
		return run.Kinds{product.Missing}
	}
	return r.Repair
}

// others are the kinds that it leaves alone.
func others(r *run.Report) (kinds []product.Kind) {
	for _, kind := range product.Kinds() {
		if !repaired(r).Has(kind) {
			kinds = append(kinds, kind)
		}
	}
	return kinds
}

// share is how many products were verified, of how many that were found.
func share(r *run.Report) string {
	var parts []string
	for _, kind := range repaired(r) {
		if found := r.Found[kind]; found > 0 {
			parts = append(parts, fmt.Sprintf("%s of %s %s", Number(r.ByKind[kind][run.Verified]), Number(found), kind))
		}
	}
	if len(parts) == 0 {
		return "nothing"
	}
	return listed(parts) + " products"
}

// findings are the numbers of all kinds, and of products that are not judged yet.
func findings(r *run.Report) string {
	var parts []string
	for _, kind := range product.Kinds() {
		parts = append(parts, fmt.Sprintf("%s %s", Number(r.Found[kind]), kind))
	}
	if n := r.Stores().InFlight; n > 0 {
		parts = append(parts, Number(n)+" cannot be judged yet")
	}
	return strings.Join(parts, ", ")
}

// acted tells whether the run has repaired anything.
func acted(r *run.Report) bool {
	n := r.Acted
	for _, states := range r.ByKind {
		n += states[run.Verified] + states[run.Undone] // by another process before this one
	}
	return n > 0
}

// unjudged is a sentence on products that are no reason to call the repair incomplete.
func unjudged(r *run.Report) string {
	n := r.Stores().InFlight
	if n == 0 {
		return ""
	}
	return fmt.Sprintf(" %s cannot be judged yet.", Counted(n, "product"))
}

// leftAlone is a sentence on the kinds that stand because nobody asked for their repair.
func leftAlone(r *run.Report, t Terms) string {
	var kinds run.Kinds
	var n int64
	for _, kind := range others(r) {
		if r.Found[kind] > 0 {
			kinds, n = append(kinds, kind), n+r.Found[kind]
		}
	}
	if n == 0 {
		return ""
	}
	return fmt.Sprintf(" Left alone: %s; %s repairs %s.", listed(amounts(r.Found, kinds)), t.sync(run.Order{Repair: kinds}), are(n, "it", "them"))
}

func either(kinds run.Kinds) string { return strings.ReplaceAll(kinds.String(), ",", " or ") }
