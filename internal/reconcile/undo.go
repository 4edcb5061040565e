package reconcile

import (
	"github.com/ecom-micro/etl/diff"
	"github.com/ecom-micro/etl/internal/product"
	"github.com/ecom-micro/etl/internal/run"
)

// undo takes back a row that a repair brought although its product was deleted
// meanwhile: exactly that one, read once more right before, and only so many.
func (r *Run) undo(it *item) {
	r.sights[it.Kind].gone(it)
	if it.Kind != product.Orphaned {
		r.line.become(it, product.Orphaned)
	}
	it.undo, it.pair, it.spent = true, nil, it.attempt
	if n := r.undone.Add(1); n > int64(r.options.MaxDeletes) {
		r.books.stop(run.Note{Code: run.NoteVanishing, Number: n})
		r.books.outcome(it, run.Failed, "", run.Reason{Code: run.ReasonDeletes, Number: int64(r.options.MaxDeletes)})
		return
	}
	it.way = undoing
	r.line.moveNow(undoing, it)
}

// The number, and the share, of products in one proof that must have vanished from the
// source for something else to be wrong than that products are deleted.
const vanishedNumber, vanishedShare = 20, 0.5

// vanishing stops the run where many products vanish at once while they are repaired:
// a collection that was dropped and is restored must not empty the cart.
func (r *Run) vanishing(items []*item, pairs []diff.Pair) error {
	vanished := 0
	for i, it := range items {
		if it.Kind.Rule().InSource && pairs[i].Product == nil {
			vanished++
		}
	}
	if vanished < vanishedNumber || float64(vanished) < vanishedShare*float64(len(items)) {
		return nil
	}
	r.books.stop(run.Note{Code: run.NoteVanishing, Number: int64(vanished), Of: int64(len(items))})
	return errStopped
}
