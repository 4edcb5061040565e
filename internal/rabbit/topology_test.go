package rabbit

import (
	"slices"
	"testing"

	"github.com/ecom-micro/etl/internal/product"
)

// The queues that differences are waited for on are those that are looked at here.
func TestEachKindOfDifferenceHasItsQueue(t *testing.T) {
	t.Parallel()
	want := map[product.Kind]string{product.Missing: CreatedQueue, product.Stale: UpdatedQueue, product.Orphaned: DeletedQueue}
	var queues []string
	for _, r := range product.Rules() {
		queues = append(queues, r.Queue)
		if r.Queue != want[r.Kind] {
			t.Errorf("%s waits for queue %s, want %s", r.Kind, r.Queue, want[r.Kind])
		}
	}
	if !slices.Equal(queues, CartQueues()) {
		t.Errorf("queues %q, those of the cart are %q", queues, CartQueues())
	}
}
