package rabbit

import (
	"encoding/json"
	"testing"
	"time"
)

// What sets a rule, and to what, as the broker merges arguments and policies.
func TestRules(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		name, answer string
		length       QueueLimits
		overflow     string
		ttl          time.Duration
		by           string // of max-length
	}{
		{name: "none", answer: `{"arguments":{"x-queue-type":"classic"},"effective_policy_definition":[]}`, overflow: DropHead},
		{name: "a policy", answer: `{"policy":"short","effective_policy_definition":{"max-length":50,"overflow":"reject-publish","message-ttl":1500}}`,
			length: QueueLimits{Messages: 50}, overflow: RejectPublish, ttl: 1500 * time.Millisecond, by: "max-length of policy short"},
		{name: "two policies", answer: `{"policy":"short","operator_policy":"strict","effective_policy_definition":{"max-length":40}}`,
			length: QueueLimits{Messages: 40}, overflow: DropHead, by: "max-length of policies short, strict"},
		{name: "an argument", answer: `{"arguments":{"x-max-length":30,"x-overflow":"reject-publish-dlx"},"policy":null}`,
			length: QueueLimits{Messages: 30}, overflow: RejectPublishAndDLX, by: "argument x-max-length"},
		{name: "the lesser of both", answer: `{"arguments":{"x-max-length":30,"x-message-ttl":9000},"policy":"short","effective_policy_definition":{"max-length":20,"message-ttl":10000}}`,
			length: QueueLimits{Messages: 20}, overflow: DropHead, ttl: 9 * time.Second, by: "max-length of policy short"},
		{name: "the argument's text", answer: `{"arguments":{"x-overflow":"drop-head"},"policy":"short","effective_policy_definition":{"overflow":"reject-publish","max-length-bytes":1000}}`,
			length: QueueLimits{Bytes: 1000}, overflow: DropHead},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			var answer queueAnswer
			if err := json.Unmarshal([]byte(tt.answer), &answer); err != nil {
				t.Fatal(err)
			}
			r := answer.rules()
			ttl, _ := r.MessageTTL()
			if r.Length() != tt.length || r.Overflow() != tt.overflow || ttl != tt.ttl {
				t.Errorf("%+v, %s, %s", r.Length(), r.Overflow(), ttl)
			}
			if by := r.By("max-length"); tt.by != "" && by != tt.by {
				t.Errorf("it is set by %q, want %q", by, tt.by)
			}
		})
	}
}
