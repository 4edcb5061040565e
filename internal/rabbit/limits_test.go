package rabbit

import (
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"testing"
	"time"

	amqp "github.com/rabbitmq/amqp091-go"

	"github.com/ecom-micro/etl/internal/secret"
	"github.com/ecom-micro/etl/internal/testenv"
)

func TestLimitsOfAQueue(t *testing.T) {
	t.Parallel()
	broker := testenv.Vhost(t)
	m := management(t, Config{URL: secret.URL(broker.URL), ManagementURL: secret.URL(broker.Management)})
	broker.Do(func(ch *amqp.Channel) error {
		_, none := ch.QueueDeclare("none", true, false, false, false, nil)
		_, argued := ch.QueueDeclare("argued", true, false, false, false, amqp.Table{"x-max-length": 70, "x-max-length-bytes": 1 << 20})
		_, ruled := ch.QueueDeclare("ruled", true, false, false, false, nil)
		_, both := ch.QueueDeclare("both", true, false, false, false, amqp.Table{"x-max-length": 70, "x-max-length-bytes": 1 << 10})
		return errors.Join(none, argued, ruled, both)
	})
	broker.Manage(http.MethodPut, "/api/policies/"+broker.Vhost+"/test", map[string]any{
		"pattern": "^(ruled|both)$", "apply-to": "queues", "definition": map[string]any{"max-length": 50, "max-length-bytes": 4096}}, nil)
	for queue, want := range map[string]QueueLimits{
		"none": {}, "argued": {Messages: 70, Bytes: 1 << 20}, "ruled": {Messages: 50, Bytes: 4096}, "both": {Messages: 50, Bytes: 1 << 10},
	} {
		testenv.Eventually(t, time.Minute, func() error {
			got, err := m.Limits(t.Context(), queue)
			if err == nil && got != want {
				err = fmt.Errorf("they are %+v, want %+v", got, want)
			}
			return err
		}, "the limits of queue "+queue)
	}
	_, err := m.Limits(t.Context(), "absent")
	testenv.CheckMessage(t, err, "read the limits of queue absent", "does not exist")
}

// The API writes an empty object as a list.
func TestLengthsOfNothing(t *testing.T) {
	t.Parallel()
	for document, want := range map[string]QueueLimits{
		`{"arguments":[],"effective_policy_definition":[]}`: {}, `{"arguments":{},"effective_policy_definition":null}`: {}, `{"arguments":{"x-queue-type":"classic"}}`: {},
		`{"arguments":{"x-max-length":5}}`: {Messages: 5}, `{"effective_policy_definition":{"max-length":6,"overflow":"reject-publish"}}`: {Messages: 6},
		`{"effective_policy_definition":{"max-length-bytes":7}}`: {Bytes: 7},
		`{"arguments":{"x-max-length":0}}`:                       {Messages: 1}, // which is not none
	} {
		var answer queueAnswer
		if err := json.Unmarshal([]byte(document), &answer); err != nil || answer.rules().Length() != want {
			t.Errorf("%s: %+v, %v", document, answer.rules().Length(), err)
		}
	}
}
