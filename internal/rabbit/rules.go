package rabbit

import (
	"strings"
	"time"
)

// Rules are what a queue's arguments and its policies, operator policies among them, make
// of its messages. Where both set one the broker takes the lesser number, and the
// argument's text.
type Rules struct {
	arguments, policy map[string]any
	policies          []string // the names of those that apply
}

func (a *queueAnswer) rules() Rules {
	r := Rules{arguments: a.Arguments.is, policy: a.Policy.is}
	for _, policy := range []string{a.PolicyName, a.OperatorPolicy} {
		if policy != "" {
			r.policies = append(r.policies, policy)
		}
	}
	return r
}

// Length is how long the queue may get. One that may hold nothing still passes on what a
// consumer is free for, and counts as one that may hold the least.
func (r Rules) Length() QueueLimits {
	var l QueueLimits
	if messages, set := r.number("max-length"); set {
		l.Messages = int(max(messages, 1))
	}
	if bytes, set := r.number("max-length-bytes"); set {
		l.Bytes = max(bytes, 1)
	}
	return l
}

// The ways of a queue with messages beyond its length limit.
const (
	DropHead            = "drop-head"          // the oldest go
	RejectPublish       = "reject-publish"     // new ones are nacked
	RejectPublishAndDLX = "reject-publish-dlx" // and dead-lettered
)

// Overflow is what becomes of messages beyond the length limit.
func (r Rules) Overflow() string {
	if way := r.text("overflow"); way != nil {
		return *way
	}
	return DropHead
}

// MessageTTL is how long a message may wait, if that is limited.
func (r Rules) MessageTTL() (time.Duration, bool) { return r.duration("message-ttl") }

// Expires is how long the queue lives without a consumer, if that is limited.
func (r Rules) Expires() (time.Duration, bool) { return r.duration("expires") }

// DeadLetterExchange is where rejected, expired and dropped messages go, "" being the
// default exchange; nil where they go nowhere.
func (r Rules) DeadLetterExchange() *string { return r.text("dead-letter-exchange") }

// deadLetters is the same with the routing key, nil where they go nowhere.
func (r Rules) deadLetters() *deadLetters {
	exchange := r.DeadLetterExchange()
	if exchange == nil {
		return nil
	}
	return &deadLetters{*exchange, r.text("dead-letter-routing-key")}
}

// SingleActive says that one consumer gets all messages, while the others stand by.
func (r Rules) SingleActive() bool {
	single, _ := r.arguments["x-single-active-consumer"].(bool)
	return single
}

// By says what sets a rule, by the rule's name in a policy.
func (r Rules) By(name string) string {
	argument, argued := r.arguments["x-"+name]
	value, ruled := r.policy[name]
	if _, isText := argument.(string); argued && (!ruled || isText || less(argument, value)) {
		return "argument x-" + name
	}
	if len(r.policies) == 1 {
		return name + " of policy " + r.policies[0]
	}
	return name + " of policies " + strings.Join(r.policies, ", ") // whose, the API does not show
}

func less(a, b any) bool {
	x, isX := a.(float64)
	y, isY := b.(float64)
	return isX && isY && x <= y
}

// number is the lesser of both values, and whether there is any.
func (r Rules) number(name string) (least int64, set bool) {
	for _, value := range []any{r.arguments["x-"+name], r.policy[name]} {
		if n, is := value.(float64); is && (!set || int64(n) < least) {
			least, set = int64(n), true
		}
	}
	return least, set
}

func (r Rules) duration(name string) (time.Duration, bool) {
	ms, set := r.number(name)
	return time.Duration(ms) * time.Millisecond, set
}

func (r Rules) text(name string) *string {
	for _, value := range []any{r.arguments["x-"+name], r.policy[name]} {
		if text, is := value.(string); is {
			return &text
		}
	}
	return nil
}
