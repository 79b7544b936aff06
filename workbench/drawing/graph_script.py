"""What the shared page of the graph does in the browser: fitting, and saving what is seen as PNG."""

from __future__ import annotations

__all__ = ["SCRIPT"]

SCRIPT = """<script>
// Not network.fit: it leaves room where there is nothing.
function fit(animation){var all=Object.values(network.body.nodes).filter(function(n){return n.options.x!==undefined}),
  box=document.getElementById("mynetwork");
  var left=Infinity,right=-Infinity,top=Infinity,bottom=-Infinity;
  all.forEach(function(n){var b=n.shape.boundingBox;left=Math.min(left,b.left);right=Math.max(right,b.right);
    top=Math.min(top,b.top);bottom=Math.max(bottom,b.bottom)});
  network.moveTo({position:{x:(left+right)/2,y:(top+bottom)/2},animation:animation,
    scale:Math.min(1.6,(box.clientWidth-24)/(right-left),(box.clientHeight-24)/(bottom-top))})}
network.once("afterDrawing",function(){fit(false)});
network.on("resize",function(){setTimeout(fit,0,false)});  // vis restores its own view right after this event
document.getElementById("fit").onclick=function(){fit(true)};
document.getElementById("png").onclick=function(){
  var from=document.querySelector("#mynetwork canvas"),to=document.createElement("canvas");
  to.width=from.width;to.height=from.height;var pen=to.getContext("2d");
  pen.fillStyle="GROUND";pen.fillRect(0,0,to.width,to.height);pen.drawImage(from,0,0);
  var link=document.createElement("a");link.download="subgraph.png";link.href=to.toDataURL("image/png");link.click()};
</script>"""
"""Runs after pyvis' own script; GROUND is filled in."""
