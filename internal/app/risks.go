package app

import (
	"fmt"

	"github.com/ecom-micro/etl/internal/rabbit"
	"github.com/ecom-micro/etl/internal/text"
	"github.com/ecom-micro/etl/internal/words"
)

// Risks lists the rules by which events may be lost. depth is how many a replay
// wants to have in the queue.
func Risks(d *rabbit.QueueDetails, depth int) []string {
	var all []string
	r := d.Rules
	overflow := map[string]string{
		rabbit.DropHead:            "drops the oldest, live ones too",
		rabbit.RejectPublish:       "refuses new ones, which publishers without confirms lose",
		rabbit.RejectPublishAndDLX: "refuses new ones and dead-letters them",
	}[r.Overflow()]
	length := r.Length()
	if length.Messages > 0 {
		risk := fmt.Sprintf("holds %s (%s), then %s", words.Counted(length.Messages, "event"), r.By("max-length"), overflow)
		if half := max(length.Messages/2, 1); half < depth {
			risk += fmt.Sprintf("; a replay keeps to %d", half)
		}
		all = append(all, risk)
	}
	if length.Bytes > 0 {
		all = append(all, fmt.Sprintf("holds %s bytes (%s), then %s; a replay keeps to half", words.Number(length.Bytes), r.By("max-length-bytes"), overflow))
	}
	if ttl, set := r.MessageTTL(); set {
		all = append(all, fmt.Sprintf("events expire after %s (%s): what the cart has not taken by then never comes to it", ttl, r.By("message-ttl")))
	}
	if expires, set := r.Expires(); set {
		all = append(all, fmt.Sprintf("after %s without a consumer it is deleted, with all that waits in it (%s)", expires, r.By("expires")))
	}
	if d.AutoDelete {
		all = append(all, "it is deleted with its last consumer (auto-delete), and with it all that waits: declare it anew without")
	}
	if d.Transient {
		all = append(all, "it does not survive the broker's restart, nor does what waits in it: declare it anew as durable")
	}
	if members := len(d.Members); members > 0 && len(d.Online) < members && len(d.Online) > members/2 {
		all = append(all, fmt.Sprintf("%d of its %d members answer (%s): start the other nodes", len(d.Online), members, text.List(d.Online, 3)))
	}
	return all
}
