"""Browser script of the graph picture: rings, fitting, saving, and more room on narrow screens."""

from __future__ import annotations

__all__ = ["SCRIPT"]

SCRIPT = """<script>
var tall=window.innerWidth<400?1.5:1,grow=Math.min(1.3,Math.max(1,560/window.innerWidth));
nodes.update(nodes.map(function(n){var f=n.font;
  return{id:n.id,y:n.y*tall,font:Object.assign({},f,{size:f.size*grow,vadjust:f.vadjust*grow})}}));
network.on("beforeDrawing",function(pen){pen.save();pen.strokeStyle="GREY";pen.globalAlpha=.3;
  RINGS.forEach(function(r){pen.beginPath();pen.ellipse(0,0,r,r*FLAT*tall,0,0,7);pen.stroke()});pen.restore()});
// Not network.fit: it takes a label above its node for one below, and leaves room where there is nothing.
function fit(animation){var all=nodes.get(),box=document.getElementById("mynetwork");
  function span(axis){var at=all.map(function(n){return n[axis]});return[Math.min.apply(0,at),Math.max.apply(0,at)]}
  var x=span("x"),y=span("y"),wide=x[1]-x[0]+170*grow,high=y[1]-y[0]+130*grow;
  network.moveTo({position:{x:(x[0]+x[1])/2,y:(y[0]+y[1])/2},animation:animation,
    scale:Math.min(1.3,box.clientWidth/wide,box.clientHeight/high)})}
network.once("afterDrawing",function(){fit(false)});
network.on("resize",function(){setTimeout(fit,0,false)});  // vis restores its own view right after this event
document.getElementById("fit").onclick=function(){fit(true)};
document.getElementById("png").onclick=function(){
  var from=document.querySelector("#mynetwork canvas"),to=document.createElement("canvas");
  to.width=from.width;to.height=from.height;var pen=to.getContext("2d");
  pen.fillStyle="GROUND";pen.fillRect(0,0,to.width,to.height);pen.drawImage(from,0,0);
  var link=document.createElement("a");link.download="subgraph.png";link.href=to.toDataURL("image/png");link.click()};
</script>"""
"""Runs after pyvis' own script; GROUND, GREY, RINGS (half widths) and FLAT (height by width) are filled in."""
