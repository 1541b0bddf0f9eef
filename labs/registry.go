package labs

import (
	whoserves "portrule.example/lab/labs/01-who-serves"
	crdbyhand "portrule.example/lab/labs/02-crd-by-hand"
	rulesincel "portrule.example/lab/labs/03-rules-in-cel"
	statusandscale "portrule.example/lab/labs/04-status-and-scale"
	ownserver "portrule.example/lab/labs/07-own-server"
	whoami "portrule.example/lab/labs/08-who-am-i"
	mayi "portrule.example/lab/labs/09-may-i"
	subresource "portrule.example/lab/labs/11-subresource"
	"portrule.example/lab/labs/lab"
)

// exercises are the labs, by the name of their folder.
var exercises = map[string]lab.Exercise{
	"01-who-serves":       whoserves.Exercise,
	"02-crd-by-hand":      crdbyhand.Exercise,
	"03-rules-in-cel":     rulesincel.Exercise,
	"04-status-and-scale": statusandscale.Exercise,
	"07-own-server":       ownserver.Exercise,
	"08-who-am-i":         whoami.Exercise,
	"09-may-i":            mayi.Exercise,
	"11-subresource":      subresource.Exercise,
}
